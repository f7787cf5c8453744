"""vLLM's Triton fused MoE, `fused_experts`, with its own alignment kernel; in bf16, and in e4m3 with block scales.

Its tile comes from a table for the very device, experts and width where vLLM has one, else from a rule; its users tune a missing one
with its benchmark_moe.py. So a few tiles of that script's search are tried as well, through vLLM's own `override_config`.
"""

import contextlib

from rivals.protocol import Rival, UnknownInterface, Variant, need, need_function, takes

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
# With e4m3 weights a step over K is within a block of scales.
E4M3_TILES = [
    ((16, 128, 128, 1, 4, 4), 0, 48),
    ((32, 128, 128, 8, 4, 4), 8, 96),
    ((64, 128, 128, 16, 4, 4), 16, 512),
    ((64, 128, 128, 32, 4, 3), 16, 1e9),
    ((128, 128, 128, 32, 8, 3), 96, 1e9),
]
KEYS = ("BLOCK_SIZE_M", "BLOCK_SIZE_N", "BLOCK_SIZE_K", "GROUP_SIZE_M", "num_warps", "num_stages")


class VllmExperts(Rival):
    name = package = "vllm"
    known = "0.8 to 0.33, where fused_experts has the parameters named here; run with 0.33.0"
    tiles = TILES

    def check(self):
        need_function(MODULE, "fused_experts", "hidden_states", "w1", "w2", "topk_weights", "topk_ids")

    def build(self, layer):
        fused_experts = need_function(MODULE, "fused_experts")
        override = getattr(need(MODULE), "override_config", None)
        options = self.scales(layer, fused_experts)
        options |= {"inplace": False} if takes(fused_experts, "inplace") else {}  # newer ones have no such choice

        def variant(label, config, least=0, most=1e9, **more):
            def run(x, ids, weights, _):
                with override(config) if config else contextlib.nullcontext():
                    return fused_experts(hidden_states=x, w1=layer.w13, w2=layer.w2, topk_weights=weights, topk_ids=ids, **options,
                                         **more)

            return Variant(label, run, takes=lambda problem: least <= problem.rows <= most)

        tiles = [(dict(zip(KEYS, tile)), least, most) for tile, least, most in self.tiles] if override else []
        return [variant("its own choice", None), *[variant(label, None, **more) for label, more in self.ways(fused_experts)],
                *[variant("x".join(map(str, list(tile.values())[:4])), tile, *rows) for tile, *rows in tiles]]

    def scales(self, layer, fused_experts):
        """What fused_experts is told of the weights."""
        return {}

    def ways(self, fused_experts):
        """(Label, options) of what else it may run."""
        return []


class VllmE4m3(VllmExperts):
    known = "0.8 to 0.33, with the parameters use_fp8_w8a8 or quant_config; run with 0.33.0"
    tiles = E4M3_TILES

    def check(self):
        super().check()
        fused_experts = need_function(MODULE, "fused_experts")
        if takes(fused_experts, "quant_config"):
            need_function(f"{MODULE}.config", "fp8_w8a8_moe_quant_config", "w1_scale", "w2_scale", "block_shape")
        elif not all(takes(fused_experts, name) for name in ("use_fp8_w8a8", "w1_scale", "w2_scale", "block_shape")):
            raise UnknownInterface(f"{MODULE}.fused_experts takes neither quant_config nor use_fp8_w8a8 with scales and block_shape")

    def scales(self, layer, fused_experts):
        given = {"w1_scale": layer.s13, "w2_scale": layer.s2, "block_shape": [128, 128]}
        if takes(fused_experts, "quant_config"):
            return {"quant_config": need_function(f"{MODULE}.config", "fp8_w8a8_moe_quant_config")(**given)}
        return {"use_fp8_w8a8": True, **given}

    def ways(self, fused_experts):
        return [("deepgemm inside", {"allow_deep_gemm": True})] if takes(fused_experts, "allow_deep_gemm") else []
