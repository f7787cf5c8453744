"""fused_triton.py's layer with e4m3 weights and block scales: tokens are quantised first, the activation quantises its rows, and each
step over K is a block of scales."""

import torch
import triton
import triton.language as tl

from rivals import pieces_e4m3
from rivals.fused_triton import sort_pairs  # noqa: F401

# BLOCK_M, BLOCK_N (128 at most, a power of two), GROUP_M, warps, stages; a step over K is 128.
TILES = [
    (16, 64, 1, 4, 4),
    (16, 128, 1, 4, 4),
    (32, 128, 8, 4, 4),
    (64, 128, 16, 4, 4),
    (128, 128, 16, 8, 4),
]


@triton.jit(do_not_specialize=["num_pairs", "top_k"])
def product(a, a_scales, b, b_scales, c, pair_weights, sorted_pairs, block_expert, padded, rows, n, k, num_pairs, top_k,
            WEIGHTED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, GROUP_M: tl.constexpr):
    """c[pair] = a[pair / top_k] times its expert's b. a [rows, K], a_scales [K / 128, rows], b [E, N, K], b_scales [E, N / 128, K / 128]."""
    pid = tl.program_id(0)
    blocks_m = tl.cdiv(tl.load(padded), BLOCK_M)
    blocks_n = n // BLOCK_N
    group = pid // (GROUP_M * blocks_n)
    first_m = group * GROUP_M
    group_m = min(blocks_m - first_m, GROUP_M)
    if first_m >= blocks_m:
        return
    pid_m = first_m + pid % (GROUP_M * blocks_n) % group_m
    pid_n = pid % (GROUP_M * blocks_n) // group_m
    if pid_n >= blocks_n:  # in a last group of fewer than GROUP_M
        return
    pairs = tl.load(sorted_pairs + pid_m * BLOCK_M + tl.arange(0, BLOCK_M))
    valid = pairs < num_pairs
    row = (pairs // top_k).to(tl.int64)
    expert = tl.load(block_expert + pid_m).to(tl.int64)
    columns = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    ks = tl.arange(0, 128)
    a_at = a + row[:, None] * k + ks[None, :]
    b_at = b + expert * n * k + columns.to(tl.int64)[None, :] * k + ks[:, None]
    a_scale_at = a_scales + row
    b_scale_at = b_scales + (expert * (n // 128) + pid_n * BLOCK_N // 128) * (k // 128)
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for _ in range(0, k // 128):
        scale = tl.load(a_scale_at, mask=valid, other=0.0) * tl.load(b_scale_at)
        total += tl.dot(tl.load(a_at, mask=valid[:, None], other=0.0), tl.load(b_at)) * scale[:, None]
        a_at += 128
        b_at += 128
        a_scale_at += rows
        b_scale_at += 1
    if WEIGHTED:
        total *= tl.load(pair_weights + pairs, mask=valid, other=0.0)[:, None]
    c_at = c + pairs.to(tl.int64)[:, None] * n + columns[None, :]
    tl.store(c_at, total.to(tl.bfloat16), mask=valid[:, None])


def products(x, weights, layer, table, tile):
    """The layer from sorted pairs: x [T, H], weights [T, K]; `layer` as protocol.py says."""
    block_m, block_n, group_m, warps, stages = tile
    sorted_pairs, block_expert, padded = table
    pairs, (tokens, top_k) = weights.numel(), weights.shape
    hidden, intermediate, device = layer.hidden, layer.intermediate, x.device
    blocks = sorted_pairs.numel() // block_m

    def quantised_rows(rows, width):
        return (torch.empty(rows, width, device=device, dtype=torch.float8_e4m3fn), pieces_e4m3.scales_of(rows, width, device))

    def run(a, b, b_scales, n, rows_per_token, weighted):
        c = torch.empty(pairs, n, device=device, dtype=torch.bfloat16)
        codes, scales = a
        product[(blocks * (n // block_n),)](
            codes, scales, b, b_scales, c, weights, sorted_pairs, block_expert, padded, len(codes), n, codes.shape[1], pairs,
            rows_per_token, WEIGHTED=weighted, BLOCK_M=block_m, BLOCK_N=block_n, GROUP_M=group_m, num_warps=warps, num_stages=stages)
        return c

    a, act = quantised_rows(tokens, hidden), quantised_rows(pairs, intermediate)
    pieces_e4m3.quantise_rows(x, None, *a)
    pieces_e4m3.silu_mul_quantise(run(a, layer.w13, layer.s13, 2 * intermediate, top_k, False), None, *act)
    return run(act, layer.w2, layer.s2, hidden, 1, True).view(tokens, top_k, hidden).sum(1)


def tiles_for(rows):
    """Tiles worth trying for so many rows an expert."""
    if rows <= 8:
        return TILES[:2]
    if rows <= 48:
        return TILES[1:4]
    return TILES[3:]
