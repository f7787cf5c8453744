"""What a rival that has only e4m3 products is composed with, beside pieces.py: rows quantised on their way into slots, and the
activation with its rows quantised at once. One Triton kernel each, which quantises a token once however many experts it goes to.

Scales are [M, K / 128] with M contiguous: `scales_of` allocates what DeepGEMM takes as it is (its TMA-aligned layout for M in fours),
so that no launch turns them around. K is a multiple of 128.
"""

import torch
import triton
import triton.language as tl

from rivals.e4m3 import BLOCK, LEAST, MOST


def scales_of(rows, width, device, groups=None):
    """[rows, width / 128], or [groups, rows, width / 128], for quantised rows; element (i, j) is i + j * rows from its group's start."""
    blocks = width // BLOCK
    if groups is None:
        return torch.empty(blocks, rows, dtype=torch.float32, device=device).t()
    return torch.empty(groups, blocks, rows, dtype=torch.float32, device=device).transpose(1, 2)


@triton.jit
def quantised(values, LEAST: tl.constexpr, MOST: tl.constexpr):
    """[blocks, 128] f32: codes and scales."""
    most = tl.maximum(tl.max(tl.abs(values), axis=1), LEAST)
    return (values * (MOST / most)[:, None]).to(tl.float8e4nv), most / MOST


@triton.jit
def store_row(codes, scales, slot, block, at, code, scale, here, width, rows):
    tl.store(codes + slot * width + at, code, mask=here[:, None])
    tl.store(scales + slot // rows * (width // 128) * rows + block * rows + slot % rows, scale, mask=here)


@triton.jit
def quantise_row(x, slots, codes, scales, width, rows, SLOTS: tl.constexpr, TOGETHER: tl.constexpr, LEAST: tl.constexpr,
                 MOST: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1) * TOGETHER + tl.arange(0, TOGETHER)
    at = block[:, None] * 128 + tl.arange(0, 128)[None, :]
    here = block * 128 < width
    values = tl.load(x + row * width + at, mask=here[:, None], other=0.0).to(tl.float32)
    code, scale = quantised(values, LEAST, MOST)
    if SLOTS == 0:
        store_row(codes, scales, row, block, at, code, scale, here, width, rows)
    for k in tl.static_range(SLOTS):
        slot = tl.load(slots + row * SLOTS + k).to(tl.int64)
        store_row(codes, scales, slot, block, at, code, scale, here, width, rows)


@triton.jit
def silu_mul_quantise_row(gate_up, slots, codes, scales, width, rows, SLOTTED: tl.constexpr, TOGETHER: tl.constexpr,
                          LEAST: tl.constexpr, MOST: tl.constexpr):
    slot = tl.program_id(0).to(tl.int64)
    if SLOTTED:
        slot = tl.load(slots + slot).to(tl.int64)
    block = tl.program_id(1) * TOGETHER + tl.arange(0, TOGETHER)
    at = block[:, None] * 128 + tl.arange(0, 128)[None, :]
    here = block * 128 < width
    gate = tl.load(gate_up + slot * 2 * width + at, mask=here[:, None], other=0.0).to(tl.float32)
    up = tl.load(gate_up + slot * 2 * width + width + at, mask=here[:, None], other=0.0).to(tl.float32)
    code, scale = quantised(gate * tl.sigmoid(gate) * up, LEAST, MOST)
    store_row(codes, scales, slot, block, at, code, scale, here, width, rows)


def launch(kernel, programs, width, together, *arguments, **constants):
    kernel[(programs, triton.cdiv(width // BLOCK, together))](*arguments, TOGETHER=together, LEAST=LEAST, MOST=MOST, **constants)


def quantise_rows(x, slots, codes, scales):
    """codes[slots[p]] and scales of it are x[p // K]'s; without slots row i's are x[i]'s. Other rows stay as they are.

    x [T, H] bf16, codes [.., H] e4m3, scales as scales_of() makes them.
    """
    width = x.shape[1]
    launch(quantise_row, len(x), width, 16, x, x if slots is None else slots, codes, scales, width, scales.shape[-2],
           SLOTS=0 if slots is None else slots.numel() // len(x))


def silu_mul_quantise(gate_up, slots, codes, scales):
    """Row `slot` of gate_up [.., 2I] bf16 (gate, then up) into that of codes [.., I] and scales, for each of `slots`; without slots
    for all rows."""
    width = codes.shape[-1]
    pairs = gate_up.numel() // (2 * width) if slots is None else slots.numel()
    launch(silu_mul_quantise_row, pairs, width, 8, gate_up, gate_up if slots is None else slots, codes, scales, width,
           scales.shape[-2], SLOTTED=slots is not None)
