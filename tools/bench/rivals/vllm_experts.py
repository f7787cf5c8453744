"""vLLM's Triton fused MoE, `fused_experts`, with its own alignment kernel.

Its tile comes from a table for the very device, experts and width where vLLM has one, else from a rule; its users tune a missing one
with its benchmark_moe.py. So a few tiles of that script's search are tried as well, through vLLM's own `override_config`.
"""

import contextlib

from rivals.protocol import Rival, Variant, need, need_function, takes

MODULE = "vllm.model_executor.layers.fused_moe"
# BLOCK_SIZE_M, _N, _K, GROUP_SIZE_M, warps, stages; and the rows of an expert, on average, from which and up to which it is tried.
TILES = [
    ((16, 64, 128, 1, 4, 4), 0, 16),
    ((16, 128, 128, 1, 4, 3), 0, 48),
    ((32, 128, 64, 8, 4, 4), 8, 64),
    ((64, 128, 64, 8, 4, 4), 16, 256),
    ((128, 128, 64, 16, 8, 4), 64, 1e9),
    ((128, 256, 64, 16, 8, 4), 160, 1e9),
]
KEYS = ("BLOCK_SIZE_M", "BLOCK_SIZE_N", "BLOCK_SIZE_K", "GROUP_SIZE_M", "num_warps", "num_stages")


class VllmExperts(Rival):
    name = package = "vllm"
    known = "0.8 to 0.33, where fused_experts has the parameters named here; never run here"

    def check(self):
        need_function(MODULE, "fused_experts", "hidden_states", "w1", "w2", "topk_weights", "topk_ids")

    def build(self, layer):
        fused_experts = need_function(MODULE, "fused_experts")
        override = getattr(need(MODULE), "override_config", None)
        options = {"inplace": False} if takes(fused_experts, "inplace") else {}  # newer ones have no such choice

        def variant(label, config, least=0, most=1e9):
            def run(x, ids, weights, _):
                with override(config) if config else contextlib.nullcontext():
                    return fused_experts(hidden_states=x, w1=layer.w13, w2=layer.w2, topk_weights=weights, topk_ids=ids, **options)

            return Variant(label, run, takes=lambda problem: least <= problem.rows <= most)

        tiles = [(dict(zip(KEYS, tile)), least, most) for tile, least, most in TILES] if override else []
        return [variant("its own choice", None),
                *[variant("x".join(map(str, list(tile.values())[:3])), tile, *rows) for tile, *rows in tiles]]
