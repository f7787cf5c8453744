"""A fused MoE in Triton, in the manner of vLLM's: pairs sorted and padded per expert, the gather in the first product's
prologue, the router weight in the second's epilogue; activation and sum over K are kernels of their own."""

import torch
import triton
import triton.language as tl

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


@triton.jit
def silu_mul_in_turns(gate_up):
    """Within a kernel: [M, 2N] whose columns are gate and up in turns -> [M, N]."""
    gate, up = tl.split(tl.reshape(gate_up, (gate_up.shape[0], gate_up.shape[1] // 2, 2)))
    return gate * tl.sigmoid(gate) * up


def sort_pairs(ids, experts, block_m):
    """Pairs by expert, each expert padded to whole blocks. Static shapes, so that a graph can hold it."""
    flat = ids.flatten()
    pairs = flat.numel()
    values, order = torch.sort(flat, stable=True)
    counts = torch.zeros(experts, dtype=torch.int64, device=ids.device).scatter_add_(
        0, flat.long(), torch.ones_like(flat, dtype=torch.int64))
    padded = (counts + block_m - 1) // block_m * block_m
    ends = torch.cumsum(padded, 0)
    shift = (ends - padded) - (torch.cumsum(counts, 0) - counts)
    most = (pairs + min(experts, pairs) * (block_m - 1) + block_m - 1) // block_m * block_m
    sorted_pairs = torch.full((most,), pairs, dtype=torch.int32, device=ids.device)
    sorted_pairs[torch.arange(pairs, device=ids.device) + shift[values.long()]] = order.int()
    blocks = torch.arange(0, most, block_m, device=ids.device)
    block_expert = torch.searchsorted(ends, blocks, right=True).clamp_(max=experts - 1).int()
    return sorted_pairs, block_expert, ends[-1:].int()


def products(x, weights, w13, w2, table, tile):
    """The layer from sorted pairs: x [T, H], weights [T, K], w13 [E, 2I, H], w2 [E, H, I]."""
    block_m, block_n, block_k, group_m, warps, stages = tile
    sorted_pairs, block_expert, padded = table
    pairs, top_k = weights.numel(), weights.shape[1]
    hidden, intermediate = w2.shape[1], w2.shape[2]
    blocks = sorted_pairs.numel() // block_m
    gate_up = torch.empty(pairs, 2 * intermediate, device="cuda", dtype=torch.bfloat16)
    act = torch.empty(pairs, intermediate, device="cuda", dtype=torch.bfloat16)
    out = torch.empty(pairs, hidden, device="cuda", dtype=torch.bfloat16)

    def run(a, b, c, n, k, rows_per_token, weighted):
        product[(blocks * triton.cdiv(n, block_n),)](
            a, b, c, weights, sorted_pairs, block_expert, padded, n, k, pairs, rows_per_token, WEIGHTED=weighted,
            BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k, GROUP_M=group_m, num_warps=warps, num_stages=stages)

    run(x, w13, gate_up, 2 * intermediate, hidden, top_k, False)
    silu_mul[(pairs, triton.cdiv(intermediate, 1024))](gate_up, act, intermediate, BLOCK=1024)
    run(act, w2, out, hidden, intermediate, 1, True)
    return out.view(-1, top_k, hidden).sum(1)


def tiles_for(rows):
    """Tiles worth trying for so many rows an expert."""
    if rows <= 8:
        return TILES[:2]
    if rows <= 48:
        return [TILES[0], TILES[2], TILES[3]]
    return TILES[3:5] if rows <= 160 else TILES[4:]
