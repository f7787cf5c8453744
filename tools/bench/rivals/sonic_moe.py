"""SonicMoE: CuTe DSL grouped products with the gather and SwiGLU inside, tuned by QuACK for each number of tokens."""

from rivals.protocol import Rival, Variant, need_function, need_hopper, takes

PARAMETERS = ("x", "router_scores", "token_indices", "expert_indices", "w1", "b1", "w2", "b2", "E", "stream_id", "activation_type",
              "is_inference_mode_enabled")


class SonicMoe(Rival):
    name = package = "sonicmoe"
    distributions = ("sonic-moe", "sonicmoe")
    known = "0.1.0 to 0.1.2; run with 0.1.2, whose tuner builds 31 kernels a layer on first use, for minutes"

    def check(self):
        need_function("sonicmoe", "moe_general_routing_inputs", *PARAMETERS)
        need_function("sonicmoe.enums", "ActivationType")
        need_hopper()

    def build(self, layer):
        import torch

        routed = need_function("sonicmoe", "moe_general_routing_inputs")
        swiglu = need_function("sonicmoe.enums", "ActivationType").SWIGLU
        if takes(routed, "concat_layout"):
            w13, options = layer.w13, {"concat_layout": True}
        else:  # before 0.1.2: a row of the gate, then one of up
            gate, up = layer.w13.chunk(2, 1)
            w13, options = torch.stack([gate, up], 2).flatten(1, 2), {}
        w1, w2 = w13.permute(1, 2, 0), layer.w2.permute(1, 2, 0)  # [2I, H, E] and [H, I, E], strides as they were

        def run(x, ids, weights, token):
            return routed(x=x, router_scores=weights.flatten(), token_indices=token, expert_indices=ids.flatten(), w1=w1, b1=None,
                          w2=w2, b2=None, E=layer.experts, stream_id=torch.cuda.current_stream().cuda_stream,
                          activation_type=swiglu, is_inference_mode_enabled=True, **options)[0]

        def tokens(ids, weights):
            return torch.arange(ids.shape[0], device="cuda", dtype=torch.int32).repeat_interleave(ids.shape[1])

        return [Variant("given ids", run, prepare=tokens)]
