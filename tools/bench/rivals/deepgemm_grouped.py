"""DeepGEMM's grouped bf16 products, composed with dispatch, activation and combine of ours (pieces.py).

DeepGEMM has products only. "contiguous" pads each expert's rows to its alignment (128); "masked" gives each expert room for all
tokens, as serving stacks do for small batches. That room is whole tiles too: a tile is stored whole, over the next expert's rows.
"""

from rivals.protocol import Rival, UnknownInterface, Variant, need, need_function, need_hopper

MOST_MASKED = 256  # tokens: [E, T, H] stays small


class DeepGemm(Rival):
    name, package = "deepgemm", "deep_gemm"
    distributions = ("deep_gemm", "deep-gemm", "sgl-deep-gemm")
    known = "2.0 to 2.6; run with 2.6.1"
    sorted = False  # whether dispatch's tables are made beforehand

    def check(self):
        need_function("deep_gemm", "m_grouped_bf16_gemm_nt_contiguous")
        need_function("deep_gemm", "m_grouped_bf16_gemm_nt_masked")
        self.alignment()
        need("triton")
        need_hopper()

    def alignment(self):
        package = need("deep_gemm")
        for name in ("get_mk_alignment_for_contiguous_layout", "get_m_alignment_for_contiguous_layout"):
            if hasattr(package, name):
                return getattr(package, name)()
        raise UnknownInterface("no deep_gemm.get_mk_alignment_for_contiguous_layout")

    def build(self, layer):
        import deep_gemm
        import torch
        from rivals import pieces

        align = self.alignment()
        empty = lambda *size: torch.empty(*size, device="cuda", dtype=torch.bfloat16)
        room = lambda ids: -(-len(ids) // align) * align

        def contiguous(x, ids, weights, table):
            slots, expert_of_row = table or pieces.contiguous_slots(ids, layer.experts, align)
            rows = expert_of_row.numel()
            a, h, y = empty(rows, layer.hidden), empty(rows, 2 * layer.intermediate), empty(rows, layer.hidden)
            pieces.scatter_rows(x, slots, a)
            deep_gemm.m_grouped_bf16_gemm_nt_contiguous(a, layer.w13, h, expert_of_row)
            deep_gemm.m_grouped_bf16_gemm_nt_contiguous(pieces.silu_mul(h, slots), layer.w2, y, expert_of_row)
            return pieces.weighted_sum(y, slots, weights)

        def masked(x, ids, weights, table):
            rows = room(ids)
            slots, counts = table or pieces.masked_slots(ids, layer.experts, rows)
            a, h = empty(layer.experts, rows, layer.hidden), empty(layer.experts, rows, 2 * layer.intermediate)
            y = empty(layer.experts, rows, layer.hidden)
            expected = -(-ids.numel() // layer.experts)
            pieces.scatter_rows(x, slots, a.view(-1, layer.hidden))
            deep_gemm.m_grouped_bf16_gemm_nt_masked(a, layer.w13, h, counts, expected)
            act = pieces.silu_mul(h.view(-1, 2 * layer.intermediate), slots).view(layer.experts, rows, -1)
            deep_gemm.m_grouped_bf16_gemm_nt_masked(act, layer.w2, y, counts, expected)
            return pieces.weighted_sum(y.view(-1, layer.hidden), slots, weights)

        def variant(label, run, table, most):
            prepare = (lambda ids, weights: table(ids)) if self.sorted else (lambda ids, weights: None)
            return Variant(label, run, prepare=prepare, takes=lambda problem: problem.tokens <= most)

        return [variant("contiguous", contiguous, lambda ids: pieces.contiguous_slots(ids, layer.experts, align), 1e9),
                variant("masked", masked, lambda ids: pieces.masked_slots(ids, layer.experts, room(ids)), MOST_MASKED)]


class DeepGemmSorted(DeepGemm):
    """The same with the tables made beforehand: less than a layer, so a bound for any sort."""

    name, sorted = "deepgemm, no sort", True
