"""torch._grouped_mm, composed: sort, gather, product, SiLU, product, index_add in f32."""

from rivals.protocol import Missing, Rival, Variant, need


class TorchComposed(Rival):
    name = package = "torch"
    known = "2.8 to 2.11, which have torch._grouped_mm; run with 2.11"

    def check(self):
        torch = need("torch")
        if not hasattr(torch, "_grouped_mm"):
            raise Missing(f"torch {torch.__version__} has no _grouped_mm")

    def build(self, layer):
        import torch

        def run(x, ids, weights, _):
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

        return [Variant("", run)]
