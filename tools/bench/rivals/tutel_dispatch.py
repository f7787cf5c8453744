"""Tutel's routing and fast dispatch around two batched products, as in its example "from scratch"; nothing is dropped.

It routes by itself, so it gets router scores that make it choose the given experts with the given weights. With a capacity for
the busiest expert it waits for the GPU, and its kernels run on the default stream: no CUDA graph can hold it.
"""

from rivals.protocol import Rival, Variant, need_function


class TutelDispatch(Rival):
    name = package = "tutel"
    known = "0.4; run with it"

    def check(self):
        need_function("tutel.moe", "top_k_routing", "scores", "top_k", "capacity_factor", "loss_fn", "normalize_gate")
        need_function("tutel.moe", "fast_encode", "data", "critial_data")
        need_function("tutel.moe", "fast_decode", "data", "critial_data")

    def build(self, layer):
        import torch
        from tutel import moe

        w13, w2 = layer.w13.transpose(1, 2), layer.w2.transpose(1, 2)

        def run(x, ids, weights, scores):
            routing, _ = moe.top_k_routing(scores, top_k=layer.top_k, capacity_factor=0, loss_fn=None, normalize_gate=True)
            gate, up = torch.matmul(moe.fast_encode(x, routing), w13).chunk(2, -1)
            return moe.fast_decode(torch.matmul(torch.nn.functional.silu(gate) * up, w2), routing)

        def scores(ids, weights):
            return torch.zeros(ids.shape[0], layer.experts, device="cuda").scatter_(1, ids.long(), weights)

        return [Variant("own routing", run, prepare=scores, captures=False)]
