"""Other MoE layers, each made from the same weights and run on the same tokens. One adapter a file; protocol.py says what one is.

All are held against float32 before they are timed. An adapter calls its project's public functions only.
"""

from rivals.deepgemm_grouped import DeepGemm, DeepGemmSorted
from rivals.flashinfer_cutlass import FlashInferCutlass
from rivals.openai_triton_kernels import TritonKernels
from rivals.sonic_moe import SonicMoe
from rivals.torch_composed import TorchComposed
from rivals.transformers_experts import TransformersExperts
from rivals.triton_fused import TritonFused, TritonProducts
from rivals.tutel_dispatch import TutelDispatch
from rivals.vllm_experts import VllmExperts

RIVALS = [TorchComposed(), TransformersExperts(), TritonFused(), VllmExperts(), FlashInferCutlass(), DeepGemm(), TutelDispatch(),
          SonicMoe(), TritonKernels()]
# Less than a whole layer; reported beside, never counted as "the best rival".
BOUNDS = [TritonProducts(), DeepGemmSorted()]


def named(names):
    return [rival for rival in RIVALS + BOUNDS if rival.name in names]
