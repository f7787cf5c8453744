"""Times other MoE layers on the inputs that `moec-bench-gpu measure --routings DIR` left behind.

Rivals: torch._grouped_mm composed (sort, gather, two grouped products, SiLU, index_add) and a Triton fused MoE in the
manner of vLLM's (pairs sorted and padded per expert, gather in the first product's prologue, router weight in the
second's epilogue; activation and sum over K are kernels of their own), the best of a few tile shapes per batch size.
The Triton time is printed with and without its sorting, which is plain torch here and a fused kernel elsewhere.

Each measurement is a CUDA graph over as many layers as there are routings; medians over replays, in microseconds.
"""

import argparse
import glob
import json
import os
import statistics

import numpy
import torch
import triton
import triton.language as tl

SHAPES = {  # hidden, intermediate, experts, top-k
    "olmoe": (2048, 1024, 64, 8),
    "qwen3-30b": (2048, 768, 128, 8),
    "mixtral": (4096, 14336, 8, 2),
    "dsv3-slice": (7168, 2048, 32, 1),
}

# BLOCK_M, BLOCK_N, BLOCK_K, GROUP_M, warps, stages
TILES = [
    (16, 64, 128, 1, 4, 4),
    (16, 128, 128, 1, 4, 4),
    (32, 128, 64, 8, 4, 4),
    (64, 128, 64, 8, 4, 4),
    (128, 128, 64, 16, 8, 4),
    (128, 256, 64, 16, 8, 3),
]


@triton.jit(do_not_specialize=["num_pairs", "top_k"])
def product(a, b, c, pair_weights, sorted_pairs, block_expert, padded, n, k, num_pairs, top_k,
            WEIGHTED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
            GROUP_M: tl.constexpr):
    pid = tl.program_id(0)
    rows_padded = tl.load(padded)
    blocks_m = tl.cdiv(rows_padded, BLOCK_M)
    blocks_n = tl.cdiv(n, BLOCK_N)
    group = pid // (GROUP_M * blocks_n)
    first_m = group * GROUP_M
    group_m = min(blocks_m - first_m, GROUP_M)
    if first_m >= blocks_m:
        return
    pid_m = first_m + pid % (GROUP_M * blocks_n) % group_m
    pid_n = pid % (GROUP_M * blocks_n) // group_m
    pairs = tl.load(sorted_pairs + pid_m * BLOCK_M + tl.arange(0, BLOCK_M))
    valid = pairs < num_pairs
    expert = tl.load(block_expert + pid_m).to(tl.int64)
    columns = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    ks = tl.arange(0, BLOCK_K)
    a_at = a + (pairs // top_k).to(tl.int64)[:, None] * k + ks[None, :]
    b_at = b + expert * n * k + (columns % n).to(tl.int64)[None, :] * k + ks[:, None]
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for _ in range(0, tl.cdiv(k, BLOCK_K)):
        total += tl.dot(tl.load(a_at, mask=valid[:, None], other=0.0), tl.load(b_at))
        a_at += BLOCK_K
        b_at += BLOCK_K
    if WEIGHTED:
        total *= tl.load(pair_weights + pairs, mask=valid, other=0.0)[:, None]
    c_at = c + pairs.to(tl.int64)[:, None] * n + columns[None, :]
    tl.store(c_at, total.to(tl.bfloat16), mask=valid[:, None] & (columns < n)[None, :])


@triton.jit
def silu_mul(gate_up, out, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_up + row * 2 * n + at, mask=at < n).to(tl.float32)
    up = tl.load(gate_up + row * 2 * n + n + at, mask=at < n).to(tl.float32)
    tl.store(out + row * n + at, (gate * tl.sigmoid(gate) * up).to(tl.bfloat16), mask=at < n)


class Layer:
    """Weights and scratch of one shape."""

    def __init__(self, name):
        self.hidden, self.intermediate, self.experts, self.top_k = SHAPES[name]
        make = lambda *size: (torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02)
        self.w13 = make(self.experts, 2 * self.intermediate, self.hidden)
        self.w2 = make(self.experts, self.hidden, self.intermediate)

    def sort(self, ids, block_m):
        """Pairs by expert, each expert padded to whole blocks. Static shapes, so that a graph can hold it."""
        flat = ids.flatten()
        pairs = flat.numel()
        values, order = torch.sort(flat, stable=True)
        counts = torch.zeros(self.experts, dtype=torch.int64, device="cuda").scatter_add_(
            0, flat.long(), torch.ones_like(flat, dtype=torch.int64))
        padded = (counts + block_m - 1) // block_m * block_m
        ends = torch.cumsum(padded, 0)
        shift = (ends - padded) - (torch.cumsum(counts, 0) - counts)
        most = (pairs + min(self.experts, pairs) * (block_m - 1) + block_m - 1) // block_m * block_m
        sorted_pairs = torch.full((most,), pairs, dtype=torch.int32, device="cuda")
        sorted_pairs[torch.arange(pairs, device="cuda") + shift[values.long()]] = order.int()
        blocks = torch.arange(0, most, block_m, device="cuda")
        block_expert = torch.searchsorted(ends, blocks, right=True).clamp_(max=self.experts - 1).int()
        return sorted_pairs, block_expert, ends[-1:].int()

    def triton_products(self, x, weights, table, tile):
        block_m, block_n, block_k, group_m, warps, stages = tile
        sorted_pairs, block_expert, padded = table
        pairs = weights.numel()
        blocks = sorted_pairs.numel() // block_m
        gate_up = torch.empty(pairs, 2 * self.intermediate, device="cuda", dtype=torch.bfloat16)
        act = torch.empty(pairs, self.intermediate, device="cuda", dtype=torch.bfloat16)
        out = torch.empty(pairs, self.hidden, device="cuda", dtype=torch.bfloat16)

        def run(a, b, c, n, k, top_k, weighted):
            product[(blocks * triton.cdiv(n, block_n),)](
                a, b, c, weights, sorted_pairs, block_expert, padded, n, k, pairs, top_k, WEIGHTED=weighted,
                BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, GROUP_M=group_m, num_warps=warps, num_stages=stages)

        run(x, self.w13, gate_up, 2 * self.intermediate, self.hidden, self.top_k, False)
        silu_mul[(pairs, triton.cdiv(self.intermediate, 1024))](gate_up, act, self.intermediate, BLOCK=1024)
        run(act, self.w2, out, self.hidden, self.intermediate, 1, True)
        return out.view(-1, self.top_k, self.hidden).sum(1)

    def torch_composed(self, x, ids, weights):
        flat = ids.flatten()
        order = torch.argsort(flat, stable=True)
        counts = torch.zeros(self.experts, dtype=torch.int32, device="cuda").scatter_add_(
            0, flat.long(), torch.ones_like(flat))
        ends = torch.cumsum(counts, 0).int()
        token = order // self.top_k
        h = torch._grouped_mm(x[token], self.w13.transpose(1, 2), offs=ends)
        act = torch.nn.functional.silu(h[:, : self.intermediate]) * h[:, self.intermediate:]
        y = torch._grouped_mm(act, self.w2.transpose(1, 2), offs=ends) * weights.flatten()[order, None]
        return torch.zeros_like(x, dtype=torch.float32).index_add_(0, token, y.float()).to(torch.bfloat16)


def time_graph(run, layers, repeats):
    """Median microseconds of a layer; `run` queues `layers` of them."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()  # compiles and warms up
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    graph.replay()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1000 / layers)
    return statistics.median(times)


def tiles_for(rows):
    if rows <= 8:
        return TILES[:2]
    if rows <= 48:
        return [TILES[0], TILES[2], TILES[3]]
    return TILES[3:5] if rows <= 160 else TILES[4:]


def measure(layer, name, path, repeats):
    """One JSON-able row a rival."""
    tokens, skew = os.path.basename(path)[len(name) + 1 : -len(".i32")].rsplit("-", 1)
    tokens = int(tokens)
    ids = torch.from_numpy(numpy.fromfile(path, dtype=numpy.int32)).cuda().view(-1, tokens, layer.top_k)
    routings = ids.shape[0]
    x = torch.randn(routings, tokens, layer.hidden, device="cuda", dtype=torch.bfloat16)
    weights = torch.rand(routings, tokens, layer.top_k, device="cuda") + 0.1
    weights /= weights.sum(-1, keepdim=True)
    rows = tokens * layer.top_k / max(1, len(torch.unique(ids[0])))

    expected = layer.torch_composed(x[0], ids[0], weights[0]).float()
    results = {"shape": name, "tokens": tokens, "skew": float(skew)}
    results["torch_us"] = time_graph(
        lambda: [layer.torch_composed(x[i], ids[i], weights[i]) for i in range(routings)], routings, repeats)
    for tile in tiles_for(rows):
        tables = [layer.sort(ids[i], tile[0]) for i in range(routings)]
        got = layer.triton_products(x[0], weights[0], tables[0], tile).float()
        error = ((got - expected).norm() / expected.norm()).item()
        if not error < 2e-2:
            raise SystemExit(f"the rivals disagree on {name} T={tokens} tile {tile}: {error}")
        bare = time_graph(
            lambda: [layer.triton_products(x[i], weights[i], tables[i], tile) for i in range(routings)], routings, repeats)
        if bare < results.get("triton_products_us", 1e30):
            results |= {"triton_products_us": bare, "triton_tile": tile}
    tile = results["triton_tile"]
    results["triton_us"] = time_graph(
        lambda: [layer.triton_products(x[i], weights[i], layer.sort(ids[i], tile[0]), tile) for i in range(routings)],
        routings, repeats)
    return results


def matrix_tflops():
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / triton.testing.do_bench(lambda: a @ b, return_mode="median") * 1e-9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routings", help="folder that moec-bench-gpu wrote")
    parser.add_argument("--json", help="append one JSON line a measurement")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--matrix-rate", action="store_true", help="print the TFLOP/s of a large product and stop")
    options = parser.parse_args()
    if options.matrix_rate:
        print(f"{matrix_tflops():.0f}")
        return
    if not options.routings:
        parser.error("--routings is needed")
    print(f"{'shape':10} {'T':>6} {'skew':>4} {'torch us':>9} {'triton us':>9} {'no sort us':>10}  tile")
    for name in SHAPES:
        paths = sorted(glob.glob(f"{options.routings}/{name}-*.i32"), key=lambda p: int(p.rsplit("-", 2)[1]))
        if not paths:
            continue
        layer = Layer(name)
        for path in paths:
            row = measure(layer, name, path, options.repeats)
            print(f"{name:10} {row['tokens']:6} {row['skew']:4.1f} {row['torch_us']:9.1f} {row['triton_us']:9.1f} "
                  f"{row['triton_products_us']:10.1f}  {row['triton_tile']}", flush=True)
            if options.json:
                with open(options.json, "a") as file:
                    file.write(json.dumps(row) + "\n")
        del layer
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
