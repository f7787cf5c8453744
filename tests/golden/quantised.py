"""Weights in fewer bits, as published checkpoints store them: e4m3 with scales of 128 by 128 elements (DeepSeek-V3, Qwen3 FP8)
and MXFP4 (gpt-oss)."""

import torch
import transformers

CONFIGS = {  # what such checkpoints' config.json says
    "fp8": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
    "mxfp4": {"modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
              "quant_method": "mxfp4"},
}
MATRICES = ("gate", "up", "down", "shared_gate", "shared_up", "shared_down")
E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def loading(layout):
    """What from_pretrained is to be told: on a CPU it computes with the numbers that the bits stand for."""
    if layout not in CONFIGS:
        return {}
    config = transformers.FineGrainedFP8Config if layout == "fp8" else transformers.Mxfp4Config
    return {"quantization_config": config(dequantize=True)}


def to_e4m3(weight, block=128):
    """(e4m3 [N, K], f32 scales [N / 128, K / 128]) of a matrix whose sides are multiples of 128."""
    n, k = weight.shape
    blocks = weight.float().reshape(n // block, block, k // block, block)
    scales = blocks.abs().amax(dim=(1, 3)) / 448
    return (blocks / scales[:, None, :, None]).reshape(n, k).to(torch.float8_e4m3fn), scales


def from_e4m3(weight, scales, block=128):
    return weight.float() * scales.repeat_interleave(block, 0).repeat_interleave(block, 1)


def to_mxfp4(weight):
    """(U8 [N, K / 32, 16], U8 exponents + 127 [N, K / 32]); the first of two elements in a byte's low half."""
    n, k = weight.shape
    blocks = weight.float().reshape(n, k // 32, 32)
    exponents = torch.floor(torch.log2(blocks.abs().amax(dim=-1))) - 2  # the largest lands between 4 and 8
    magnitudes = (blocks.abs() / torch.exp2(exponents)[..., None])[..., None]
    codes = (magnitudes - E2M1).abs().argmin(dim=-1) + 8 * (blocks < 0)
    return (codes[..., 0::2] + 16 * codes[..., 1::2]).to(torch.uint8), (exponents + 127).to(torch.uint8)


def from_mxfp4(blocks, exponents):
    codes = torch.stack([blocks & 15, blocks >> 4], dim=-1).flatten(-2).long()
    values = E2M1[codes & 7] * torch.where(codes >= 8, -1.0, 1.0)
    return (values * torch.exp2(exponents.float() - 127)[..., None]).flatten(1)


def round_trip(layout, weights):
    """The numbers that are left of `weights` (make.random_weights)."""

    def through(weight):
        return from_e4m3(*to_e4m3(weight)) if layout == "fp8" else from_mxfp4(*to_mxfp4(weight))

    def each(entries):
        return {role: through(value) if role in MATRICES else value for role, value in entries.items()}

    return each(weights) | {"expert": [each(expert) for expert in weights["expert"]]}


def store(layout, tensors):
    """A checkpoint's tensors with the experts' (and shared experts') matrices stored in `layout`."""
    stored = {}
    for name, tensor in tensors.items():
        if layout == "fp8" and name.endswith("_proj.weight"):
            stored[name], stored[name + "_scale_inv"] = to_e4m3(tensor)
        elif layout == "mxfp4" and name.endswith("_proj"):  # [E, K, N], as gpt-oss's model has them; rows are stored
            parts = [to_mxfp4(expert.T) for expert in tensor]
            for suffix, part in zip(("_blocks", "_scales"), zip(*parts)):
                stored[name + suffix] = torch.stack(part)
        else:
            stored[name] = tensor
    return stored
