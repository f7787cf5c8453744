"""e4m3 with block scales in plain torch, by moec's rules (compiler/kernels/Fp8Abi.h): what rivals and tests are held against."""

import torch

BLOCK = 128  # elements of a row that share a scale; of weights, 128 rows of them
MOST = 448.0  # the largest e4m3 value, which the largest element of a block becomes
LEAST = 2.0**-100  # blocks whose elements are all smaller count as if this were their largest


def quantise(x):
    """[M, K] -> (codes [M, K] e4m3, scales [M, ceil(K / 128)] f32): codes * scales is x, rounded to nearest even."""
    rows, width = x.shape
    padded = torch.nn.functional.pad(x.float(), (0, -width % BLOCK)).view(rows, -1, BLOCK)
    most = padded.abs().amax(-1).clamp(min=LEAST)
    codes = (padded * (MOST / most)[..., None]).to(torch.float8_e4m3fn)
    return codes.view(rows, -1)[:, :width].contiguous(), most / MOST


def dequantised(codes, scales):
    """[M, K] with a scale for each 128 of a row: f32."""
    return codes.float() * scales.repeat_interleave(BLOCK, 1)[:, : codes.shape[1]]


def dequantised_weights(codes, scales):
    """[N, K] with a scale for each 128 by 128: f32."""
    return dequantised(codes, scales.repeat_interleave(BLOCK, 0)[: codes.shape[0]])
