"""Other MoE layers, each made from the same weights and run on the same tokens. One adapter a file; protocol.py says what one is.

All are held against float32 before they are timed. An adapter calls its project's public functions only.
"""

from rivals.deepgemm_e4m3 import DeepGemmE4m3, DeepGemmE4m3Sorted
from rivals.deepgemm_grouped import DeepGemm, DeepGemmSorted
from rivals.flashinfer_cutlass import FlashInferCutlass, FlashInferE4m3
from rivals.openai_triton_kernels import TritonKernels
from rivals.sonic_moe import SonicMoe
from rivals.torch_composed import TorchComposed
from rivals.transformers_experts import TransformersExperts
from rivals.triton_e4m3 import TritonE4m3, TritonE4m3Products
from rivals.triton_fused import TritonFused, TritonProducts
from rivals.tutel_dispatch import TutelDispatch
from rivals.vllm_experts import VllmE4m3, VllmExperts

RIVALS = [TorchComposed(), TransformersExperts(), TritonFused(), VllmExperts(), FlashInferCutlass(), DeepGemm(), TutelDispatch(),
          SonicMoe(), TritonKernels()]
# Less than a whole layer; reported beside, never counted as "the best rival".
BOUNDS = [TritonProducts(), DeepGemmSorted()]

# The same of layers of e4m3 weights with a scale for each block of 128 by 128. No products of that kind are in torch (_scaled_grouped_mm
# takes a scale a row) and triton_kernels (a scale for 32 elements); transformers' need kernels that it downloads.
E4M3_RIVALS = [TritonE4m3(), VllmE4m3(), FlashInferE4m3(), DeepGemmE4m3()]
E4M3_BOUNDS = [TritonE4m3Products(), DeepGemmE4m3Sorted()]


def of(weights):
    """(Rivals, bounds) in layers of "bf16" or "e4m3" weights."""
    return (E4M3_RIVALS, E4M3_BOUNDS) if weights == "e4m3" else (RIVALS, BOUNDS)


def named(names, weights="bf16"):
    some, bounds = of(weights)
    return [rival for rival in some + bounds if rival.name in names]
