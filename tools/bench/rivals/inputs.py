"""The values that moec-bench-gpu measures on, as it leaves them in a folder (tools/bench/gpu/Inputs.h), for everybody else.

A tensor is a block of values, repeated: hidden.bf16 for tokens, gate-up.bf16 and down.bf16 for the experts' weights. A problem is
SHAPE-T-SKEW.i32, ids [routings, T, K], and .f32, their weights; .bf16 is moec's own output for the first routing, [T, H].
"""

import pathlib

import torch


def values(path, dtype):
    return torch.frombuffer(bytearray(pathlib.Path(path).read_bytes()), dtype=dtype)


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
        block = lambda name: values(f"{folder}/{name}.bf16", torch.bfloat16).to(device)
        self.tokens = block("hidden")
        self.w13 = repeated(block("gate-up"), self.experts, 2 * self.intermediate, self.hidden)
        self.w2 = repeated(block("down"), self.experts, self.hidden, self.intermediate)

    def expected(self, x, ids, weights):
        """[T, H] in float32, whatever a rival has allowed for float32 products."""
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        out = torch.zeros(x.shape, device=x.device, dtype=torch.float32)
        for expert in range(self.experts):
            token, k = (ids == expert).nonzero(as_tuple=True)
            if len(token):
                gate, up = (x[token].float() @ self.w13[expert].float().T).chunk(2, -1)
                act = torch.nn.functional.silu(gate) * up
                out.index_add_(0, token, act @ self.w2[expert].float().T * weights[token, k, None])
        torch.set_float32_matmul_precision(precision)
        return out


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
