"""The fused MoE in Triton with e4m3 weights and block scales (fused_triton_e4m3.py): sorting in plain torch, the best of two or three
tiles."""

from rivals.protocol import Variant, need_hopper
from rivals.triton_fused import TritonFused


class TritonE4m3(TritonFused):
    known = "3.4 to 3.6; run with 3.6"
    sorted = False  # whether pairs are sorted beforehand

    def check(self):
        super().check()
        need_hopper()

    def build(self, layer):
        from rivals import fused_triton_e4m3 as fused

        def variant(tile):
            sort = lambda ids: fused.sort_pairs(ids, layer.experts, tile[0])

            def run(x, ids, weights, table):
                return fused.products(x, weights, layer, table or sort(ids), tile)

            return Variant("x".join(map(str, tile[:2])), run, prepare=lambda ids, weights: sort(ids) if self.sorted else None,
                           takes=lambda problem: tile in fused.tiles_for(problem.rows))

        return [variant(tile) for tile in fused.TILES]


class TritonE4m3Products(TritonE4m3):
    """The same without its sorting: less than a layer, so a bound for any fused sort."""

    name, sorted = "triton, no sort", True
