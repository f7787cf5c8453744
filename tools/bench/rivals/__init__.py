"""Other MoE layers as functions of (x [T, H], ids [T, K], weights [T, K]), each made from the same weights.

A rival is a function `make(layer) -> list of (label, run)`: variants of which the best counts. It raises `Missing` with the
reason where this Python lacks it. Every variant's result is compared with float64 before it is timed.

Marked UNTRIED: written against the project's published interface, never run here; a difference in its interface shows as
"missing: ..." with the error, not as a number.
"""

import torch


class Missing(Exception):
    """This Python cannot run the rival; the text says why."""


def need(module):
    try:
        return __import__(module, fromlist=["_"])
    except Exception as error:  # a broken install raises anything
        raise Missing(f"{module}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'not here'}") from None


def torch_composed(layer):
    """sort, gather, torch._grouped_mm, SiLU, torch._grouped_mm, index_add in f32."""
    if not hasattr(torch, "_grouped_mm"):
        raise Missing(f"torch {torch.__version__} has no _grouped_mm")

    def run(x, ids, weights):
        flat = ids.flatten()
        order = torch.argsort(flat, stable=True)
        counts = torch.zeros(layer.experts, dtype=torch.int32, device="cuda").scatter_add_(
            0, flat.long(), torch.ones_like(flat))
        ends = torch.cumsum(counts, 0).int()
        token = order // layer.top_k
        h = torch._grouped_mm(x[token], layer.w13.transpose(1, 2), offs=ends)
        act = torch.nn.functional.silu(h[:, : layer.intermediate]) * h[:, layer.intermediate:]
        y = torch._grouped_mm(act, layer.w2.transpose(1, 2), offs=ends) * weights.flatten()[order, None]
        return torch.zeros_like(x, dtype=torch.float32).index_add_(0, token, y.float()).to(torch.bfloat16)

    return [("", run)]


def transformers_experts(layer):
    """transformers' own experts module (OLMoE's; the others' are the same) with each backend that it registers."""
    need("transformers")
    from transformers import OlmoeConfig
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    from transformers.models.olmoe.modeling_olmoe import OlmoeExperts

    runs = []
    for backend in sorted(ALL_EXPERTS_FUNCTIONS.valid_keys()):
        config = OlmoeConfig(hidden_size=layer.hidden, intermediate_size=layer.intermediate, num_experts=layer.experts,
                             num_experts_per_tok=layer.top_k, hidden_act="silu")
        config._experts_implementation = backend
        with torch.device("meta"):
            experts = OlmoeExperts(config)
        experts.gate_up_proj = torch.nn.Parameter(layer.w13, requires_grad=False)
        experts.down_proj = torch.nn.Parameter(layer.w2, requires_grad=False)
        # batched_mm copies each pair's expert: [pairs, 2I, H] must fit.
        most = 16e9 / (layer.w13[0].numel() * 2 * layer.top_k) if backend == "batched_mm" else 1e9
        runs.append((backend, lambda x, ids, weights, experts=experts: experts(x, ids.long(), weights.to(x.dtype)), most))
    if not runs:
        raise Missing("transformers registers no experts backend")
    return runs


def triton_fused(layer):
    """A fused MoE in Triton as vLLM's, sorting in plain torch; the best of two or three tiles."""
    need("triton")
    from rivals import fused_triton

    def make(tile):
        def run(x, ids, weights):
            table = fused_triton.sort_pairs(ids, layer.experts, tile[0])
            return fused_triton.products(x, weights, layer.w13, layer.w2, table, tile)
        return run

    return [("x".join(map(str, tile[:3])), make(tile)) for tile in fused_triton.tiles_for(layer.rows_per_expert)]


def triton_products_only(layer):
    """The same without its sorting: less than a layer, so a lower bound for fused sorts."""
    need("triton")
    from rivals import fused_triton

    def make(tile):
        tables = {}

        def run(x, ids, weights):
            key = ids.data_ptr()
            if key not in tables:  # filled by the first, untimed, call
                tables[key] = fused_triton.sort_pairs(ids, layer.experts, tile[0])
            return fused_triton.products(x, weights, layer.w13, layer.w2, tables[key], tile)
        return run

    return [("x".join(map(str, tile[:3])), make(tile)) for tile in fused_triton.tiles_for(layer.rows_per_expert)]


def vllm_fused(layer):
    """vLLM's Triton fused MoE. UNTRIED."""
    module = need("vllm.model_executor.layers.fused_moe")
    return [("", lambda x, ids, weights: module.fused_experts(x, layer.w13, layer.w2, weights, ids, inplace=False))]


def flashinfer_cutlass(layer):
    """FlashInfer's CUTLASS fused MoE, which wants up before gate. UNTRIED."""
    module = need("flashinfer.fused_moe")
    half = layer.intermediate
    w31 = torch.cat([layer.w13[:, half:], layer.w13[:, :half]], 1)
    return [("", lambda x, ids, weights: module.cutlass_fused_moe(
        x, ids, weights.float(), w31, layer.w2, torch.bfloat16, quant_scales=[])[0])]


RIVALS = {
    "torch": torch_composed,
    "transformers": transformers_experts,
    "triton": triton_fused,
    "vllm": vllm_fused,
    "flashinfer": flashinfer_cutlass,
}
# Less than a whole layer; reported beside, never counted as "the best rival".
BOUNDS = {"triton, no sort": triton_products_only}
# No adapter here yet.
NOT_ADAPTED = {"DeepGEMM": "deep_gemm", "Tutel": "tutel", "SonicMoE": "sonicmoe", "triton_kernels": "triton_kernels"}
