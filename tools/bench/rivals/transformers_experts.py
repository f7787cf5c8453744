"""transformers' own experts module (OLMoE's; the others' are the same) with each backend that it registers."""

from rivals.protocol import Rival, UnknownInterface, Variant, need, need_function


class TransformersExperts(Rival):
    name = package = "transformers"
    known = "5.x, which has registered experts backends; run with 5.17"

    def check(self):
        need_function("transformers.models.olmoe.modeling_olmoe", "OlmoeExperts")
        backends = getattr(need("transformers.integrations.moe"), "ALL_EXPERTS_FUNCTIONS", None)
        if backends is None or not list(backends.valid_keys()):
            raise UnknownInterface("transformers.integrations.moe registers no experts backend")

    def build(self, layer):
        import torch
        from transformers import OlmoeConfig
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
        from transformers.models.olmoe.modeling_olmoe import OlmoeExperts

        def variant(backend):
            config = OlmoeConfig(hidden_size=layer.hidden, intermediate_size=layer.intermediate, num_experts=layer.experts,
                                 num_experts_per_tok=layer.top_k, hidden_act="silu")
            config._experts_implementation = backend
            with torch.device("meta"):
                experts = OlmoeExperts(config)
            experts.gate_up_proj = torch.nn.Parameter(layer.w13, requires_grad=False)
            experts.down_proj = torch.nn.Parameter(layer.w2, requires_grad=False)
            # batched_mm copies each pair's expert: [pairs, 2I, H] must fit.
            most = 16e9 / (layer.w13[0].numel() * 2 * layer.top_k) if backend == "batched_mm" else 1e9
            return Variant(backend, lambda x, ids, weights, _: experts(x, ids.long(), weights.to(x.dtype)),
                           takes=lambda problem: problem.tokens <= most)

        return [variant(backend) for backend in sorted(ALL_EXPERTS_FUNCTIONS.valid_keys())]
