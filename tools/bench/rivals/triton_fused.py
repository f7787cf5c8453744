"""A fused MoE in Triton as vLLM's (fused_triton.py): sorting in plain torch, the best of two or three tiles."""

from rivals.protocol import Rival, Variant, need


class TritonFused(Rival):
    name = package = "triton"
    known = "3.4 to 3.6; run with 3.6"

    def check(self):
        need("triton")

    def build(self, layer):
        from rivals import fused_triton

        def variant(tile):
            def run(x, ids, weights, _):
                table = fused_triton.sort_pairs(ids, layer.experts, tile[0])
                return fused_triton.products(x, weights, layer.w13, layer.w2, table, tile)

            return Variant("x".join(map(str, tile[:3])), run, takes=lambda problem: tile in fused_triton.tiles_for(problem.rows))

        return [variant(tile) for tile in fused_triton.TILES]


class TritonProducts(TritonFused):
    """The same without its sorting: less than a layer, so a bound for any fused sort."""

    name = "triton, no sort"

    def build(self, layer):
        from rivals import fused_triton

        def variant(tile):
            return Variant("x".join(map(str, tile[:3])),
                           lambda x, ids, weights, table: fused_triton.products(x, weights, layer.w13, layer.w2, table, tile),
                           prepare=lambda ids, weights: fused_triton.sort_pairs(ids, layer.experts, tile[0]),
                           takes=lambda problem: tile in fused_triton.tiles_for(problem.rows))

        return [variant(tile) for tile in fused_triton.TILES]
