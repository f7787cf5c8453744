"""What a rival that has only products is composed with: rows into experts' slots, the activation, the weighted sum.

Sorting is plain torch, as the torch rival's; the rest is one Triton kernel a step. Static shapes, so that a graph can hold it.
"""

import torch
import triton
import triton.language as tl


def ranks(ids, experts):
    """Pairs by expert: (each pair's place among its expert's pairs [pairs], pairs of each expert [E])."""
    flat = ids.flatten()
    values, order = torch.sort(flat, stable=True)
    counts = torch.zeros(experts, dtype=torch.int64, device=ids.device).scatter_add_(
        0, flat.long(), torch.ones_like(flat, dtype=torch.int64))
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(flat), device=ids.device) - starts[values.long()]
    return rank, counts


def contiguous_slots(ids, experts, align):
    """Each expert's rows padded to `align`: (slot of each pair [pairs], expert of each row [rows], -1 past the last)."""
    rank, counts = ranks(ids, experts)
    ends = torch.cumsum((counts + align - 1) // align * align, 0)
    starts = torch.nn.functional.pad(ends[:-1], (1, 0))
    pairs = ids.numel()
    most = (pairs + min(experts, pairs) * (align - 1) + align - 1) // align * align
    expert = torch.searchsorted(ends, torch.arange(most, device=ids.device), right=True)
    return rank + starts[ids.flatten().long()], torch.where(expert < experts, expert, -1).int()


def masked_slots(ids, experts, rows):
    """`rows` for each expert, at least as many as tokens: (slot of each pair [pairs], rows in use of each expert [E])."""
    rank, counts = ranks(ids, experts)
    return rank + ids.flatten().long() * rows, counts.int()


@triton.jit
def copy_row(x, slots, out, width, top_k, BLOCK: tl.constexpr):
    pair = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + pair).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(x + pair // top_k * width + at, mask=at < width)
    tl.store(out + slot * width + at, row, mask=at < width)


@triton.jit
def silu_mul_row(gate_up, slots, out, width, BLOCK: tl.constexpr):
    slot = tl.load(slots + tl.program_id(0)).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_up + slot * 2 * width + at, mask=at < width).to(tl.float32)
    up = tl.load(gate_up + slot * 2 * width + width + at, mask=at < width).to(tl.float32)
    tl.store(out + slot * width + at, (gate * tl.sigmoid(gate) * up).to(tl.bfloat16), mask=at < width)


@triton.jit
def sum_rows(y, slots, weights, out, width, TOP_K: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for k in tl.static_range(TOP_K):
        slot = tl.load(slots + token * TOP_K + k).to(tl.int64)
        row = tl.load(y + slot * width + at, mask=at < width, other=0.0).to(tl.float32)
        total += tl.load(weights + token * TOP_K + k) * row
    tl.store(out + token * width + at, total.to(tl.bfloat16), mask=at < width)


def scatter_rows(x, slots, out):
    """out[slots[p]] = x[p // K]; other rows stay as they are."""
    width = x.shape[1]
    copy_row[(slots.numel(), triton.cdiv(width, 2048))](x, slots, out, width, slots.numel() // len(x), BLOCK=2048)


def silu_mul(gate_up, slots):
    """[rows, 2I] (gate, then up) -> [rows, I], in the rows that hold a pair; others are not written."""
    width = gate_up.shape[1] // 2
    out = torch.empty(gate_up.shape[0], width, device="cuda", dtype=torch.bfloat16)
    silu_mul_row[(slots.numel(), triton.cdiv(width, 1024))](gate_up, slots, out, width, BLOCK=1024)
    return out


def weighted_sum(y, slots, weights):
    """sum over k of weights[t, k] * y[slots[t * K + k]], in f32, as bf16 [T, H]."""
    tokens, top_k = weights.shape
    out = torch.empty(tokens, y.shape[1], device=y.device, dtype=torch.bfloat16)
    sum_rows[(tokens, triton.cdiv(y.shape[1], 1024))](y, slots, weights, out, y.shape[1], TOP_K=top_k, BLOCK=1024)
    return out
