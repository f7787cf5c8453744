"""vLLM's Triton fused MoE, `fused_experts`, with its own alignment kernel and tuned tile tables."""

from rivals.protocol import Rival, Variant, need_function, takes

MODULE = "vllm.model_executor.layers.fused_moe"


class VllmExperts(Rival):
    name = package = "vllm"
    known = "0.8 to 0.33, where fused_experts has the parameters named here; never run here"

    def check(self):
        need_function(MODULE, "fused_experts", "hidden_states", "w1", "w2", "topk_weights", "topk_ids")

    def build(self, layer):
        fused_experts = need_function(MODULE, "fused_experts")
        options = {"inplace": False} if takes(fused_experts, "inplace") else {}  # newer ones have no such choice

        def run(x, ids, weights, _):
            return fused_experts(hidden_states=x, w1=layer.w13, w2=layer.w2, topk_weights=weights, topk_ids=ids, **options)

        return [Variant("", run)]
