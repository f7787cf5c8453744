"""DeepGEMM's grouped e4m3 products with block scales, composed with dispatch, quantising, activation and combine of ours (pieces.py,
pieces_e4m3.py); laid out as deepgemm_grouped.py's bf16 ones.

On Hopper its products take scales in f32: of the weights as checkpoints have them, of tokens [M, K / 128] with M contiguous and in fours.
"""

from rivals.deepgemm_grouped import MOST_MASKED, DeepGemm
from rivals.protocol import UnknownInterface, Variant, need, need_function, need_hopper


class DeepGemmE4m3(DeepGemm):
    known = "2.0 to 2.6; run with 2.6.1"

    def check(self):
        need_function("deep_gemm", "m_grouped_fp8_gemm_nt_contiguous")
        self.masked_product()
        self.alignment()
        need("triton")
        need_hopper()

    def masked_product(self):
        package = need("deep_gemm")
        for name in ("m_grouped_fp8_gemm_nt_masked", "fp8_m_grouped_gemm_nt_masked"):  # the latter before 2.1
            if hasattr(package, name):
                return getattr(package, name)
        raise UnknownInterface("no deep_gemm.m_grouped_fp8_gemm_nt_masked")

    def build(self, layer):
        import deep_gemm
        import torch
        from rivals import pieces, pieces_e4m3

        align, masked_product = self.alignment(), self.masked_product()
        hidden, intermediate, experts, device = layer.hidden, layer.intermediate, layer.experts, layer.w13.device
        codes = lambda *size: torch.empty(*size, device=device, dtype=torch.float8_e4m3fn)
        empty = lambda *size: torch.empty(*size, device=device, dtype=torch.bfloat16)
        room = lambda ids: -(-len(ids) // align) * align
        w13, w2 = (layer.w13, layer.s13), (layer.w2, layer.s2)

        def contiguous(x, ids, weights, table):
            slots, expert_of_row = table or pieces.contiguous_slots(ids, experts, align)
            rows = expert_of_row.numel()
            a = codes(rows, hidden), pieces_e4m3.scales_of(rows, hidden, device)
            act = codes(rows, intermediate), pieces_e4m3.scales_of(rows, intermediate, device)
            h, y = empty(rows, 2 * intermediate), empty(rows, hidden)
            pieces_e4m3.quantise_rows(x, slots, *a)
            deep_gemm.m_grouped_fp8_gemm_nt_contiguous(a, w13, h, expert_of_row)
            pieces_e4m3.silu_mul_quantise(h, slots, *act)
            deep_gemm.m_grouped_fp8_gemm_nt_contiguous(act, w2, y, expert_of_row)
            return pieces.weighted_sum(y, slots, weights)

        def masked(x, ids, weights, table):
            rows = room(ids)
            slots, counts = table or pieces.masked_slots(ids, experts, rows)
            a = codes(experts, rows, hidden), pieces_e4m3.scales_of(rows, hidden, device, experts)
            act = codes(experts, rows, intermediate), pieces_e4m3.scales_of(rows, intermediate, device, experts)
            h, y = empty(experts, rows, 2 * intermediate), empty(experts, rows, hidden)
            expected = -(-ids.numel() // experts)
            pieces_e4m3.quantise_rows(x, slots, *a)
            masked_product(a, w13, h, counts, expected)
            pieces_e4m3.silu_mul_quantise(h, slots, *act)
            masked_product(act, w2, y, counts, expected)
            return pieces.weighted_sum(y.view(-1, hidden), slots, weights)

        def variant(label, run, table, most):
            prepare = (lambda ids, weights: table(ids)) if self.sorted else (lambda ids, weights: None)
            return Variant(label, run, prepare=prepare, takes=lambda problem: problem.tokens <= most)

        return [variant("contiguous", contiguous, lambda ids: pieces.contiguous_slots(ids, experts, align), 1e9),
                variant("masked", masked, lambda ids: pieces.masked_slots(ids, experts, room(ids)), MOST_MASKED)]


class DeepGemmE4m3Sorted(DeepGemmE4m3):
    """The same with the tables made beforehand: less than a layer, so a bound for any sort."""

    name, sorted = "deepgemm, no sort", True
