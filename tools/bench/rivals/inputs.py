"""The values that moec-bench-gpu measures on, as it leaves them in a folder (tools/bench/gpu/Inputs.h), for everybody else.

A tensor is a block of values, repeated: hidden.bf16 for tokens, gate-up.bf16 and down.bf16 for the experts' weights. A problem is
SHAPE-T-SKEW.i32, ids [routings, T, K], and .f32, their weights; .bf16 is moec's own output for the first routing, [T, H].
With e4m3 weights (Fp8Inputs.h) gate-up.e4m3 and down.e4m3 hold codes, and gate-up.scales and down.scales their f32 scales.
"""

import pathlib

import torch

from rivals import e4m3


def values(path, dtype):
    return torch.frombuffer(bytearray(pathlib.Path(path).read_bytes()), dtype=torch.uint8).view(dtype)


def repeated(block, *size):
    """A tensor of this size, on the block's device, whose element i is the block's i modulo its length."""
    out = torch.empty(size, dtype=block.dtype, device=block.device)
    flat = out.view(-1)
    for begin in range(0, len(flat), len(block)):
        part = flat[begin : begin + len(block)]
        part.copy_(block[: len(part)])
    return out


class Layer:
    """Weights of one shape, as transformers keeps them: w13 [E, 2I, H] (gate, then up) and w2 [E, H, I]."""

    def __init__(self, sizes, folder, device="cuda"):
        self.hidden, self.intermediate, self.experts, self.top_k = sizes
        self.block = lambda name, dtype=torch.bfloat16: values(f"{folder}/{name}", dtype).to(device)
        self.tokens = self.block("hidden.bf16")
        self.make_weights()

    def make_weights(self):
        self.w13 = repeated(self.block("gate-up.bf16"), self.experts, 2 * self.intermediate, self.hidden)
        self.w2 = repeated(self.block("down.bf16"), self.experts, self.hidden, self.intermediate)

    def expert(self, expert):
        """Its w13 and w2 in float32."""
        return self.w13[expert].float(), self.w2[expert].float()

    def expected(self, x, ids, weights):
        """[T, H] in float32, whatever a rival has allowed for float32 products."""
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        out = torch.zeros(x.shape, device=x.device, dtype=torch.float32)
        for expert in range(self.experts):
            token, k = (ids == expert).nonzero(as_tuple=True)
            if len(token):
                w13, w2 = self.expert(expert)
                gate, up = (x[token].float() @ w13.T).chunk(2, -1)
                act = torch.nn.functional.silu(gate) * up
                out.index_add_(0, token, act @ w2.T * weights[token, k, None])
        torch.set_float32_matmul_precision(precision)
        return out


class E4m3Layer(Layer):
    """Weights of one shape as DeepSeek-V3's checkpoints have them: w13 and w2 in e4m3, and the scales of their blocks of 128 by 128,
    s13 [E, 2I / 128, H / 128] and s2 [E, H / 128, I / 128] in f32. H and I are multiples of 128."""

    def make_weights(self):
        codes = lambda name: self.block(f"{name}.e4m3", torch.uint8)
        scales = lambda name: self.block(f"{name}.scales", torch.float32)
        wide, hidden, intermediate = 2 * self.intermediate, self.hidden, self.intermediate
        self.w13 = repeated(codes("gate-up"), self.experts, wide, hidden).view(torch.float8_e4m3fn)
        self.w2 = repeated(codes("down"), self.experts, hidden, intermediate).view(torch.float8_e4m3fn)
        self.s13 = repeated(scales("gate-up"), self.experts, wide // e4m3.BLOCK, hidden // e4m3.BLOCK)
        self.s2 = repeated(scales("down"), self.experts, hidden // e4m3.BLOCK, intermediate // e4m3.BLOCK)

    def expert(self, expert):
        return (e4m3.dequantised_weights(self.w13[expert], self.s13[expert]),
                e4m3.dequantised_weights(self.w2[expert], self.s2[expert]))


LAYERS = {"bf16": Layer, "e4m3": E4m3Layer}


class Inputs:
    """One problem's x [routings, T, H], ids and weights [routings, T, K]; `path` is that of its files without their endings."""

    def __init__(self, layer, path, tokens):
        device = layer.w2.device
        self.path = path
        self.ids = values(f"{path}.i32", torch.int32).view(-1, tokens, layer.top_k).to(device)
        self.weights = values(f"{path}.f32", torch.float32).view_as(self.ids).to(device)
        self.x = repeated(layer.tokens, len(self.ids), tokens, layer.hidden)

    def moec_output(self):
        """moec's own for the first routing, or None where it left none."""
        path = pathlib.Path(f"{self.path}.bf16")
        return values(path, torch.bfloat16).view_as(self.x[0]).to(self.x.device) if path.exists() else None


def error(found, expected):
    """Relative L2 distance of the worst token: a wrong one among thousands would not show in the norm of them all."""
    if found.shape != expected.shape:
        raise ValueError(f"returns {tuple(found.shape)}, not {tuple(expected.shape)}")
    return ((found.float() - expected).norm(dim=1) / expected.norm(dim=1)).max().item()
