#!/usr/bin/env python3
"""Layers of e4m3 weights as rivals get them are moec's, by moec's own float64 output and quantised tokens; and the adapters of rivals in
e4m3 run them right, around products of this test where the rival has only products. No GPU: Triton's kernels run in its interpreter.

    e4m3_test.py MOEC_BENCH_GPU
"""

import array
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/bench"))
try:
    import torch
except ImportError:
    torch = None
try:
    import triton
    from triton.runtime import interpreter
except ImportError:
    triton = None

PROGRAM = sys.argv.pop(1)
HIDDEN, INTERMEDIATE, EXPERTS, TOP_K = SIZES = 256, 128, 96, 2
TOKENS, BLOCK = 3, 128
STEP = 2**-4  # of e4m3: the most that rounding changes a normal value, as a part of it


def read(path, code):
    values = array.array(code)
    values.frombytes(pathlib.Path(path).read_bytes())
    return values


def value(bits):
    exponent, mantissa = bits >> 3 & 15, bits & 7
    magnitude = math.ldexp(mantissa, -9) if exponent == 0 else math.ldexp(8 + mantissa, exponent - 10)
    return -magnitude if bits & 128 else magnitude


VALUES = [value(bits) for bits in range(256)]
POSITIVE = VALUES[:127]  # 127 is NaN


def nearest(magnitude):
    """The e4m3 value, ties to even codes."""
    return POSITIVE[min(range(127), key=lambda bits: (abs(POSITIVE[bits] - magnitude), bits & 1))]


def quantised(row):
    """A row's elements as e4m3 with a scale for each 128 gives them back."""
    out = []
    for begin in range(0, len(row), BLOCK):
        part = row[begin : begin + BLOCK]
        scale = max(map(abs, part)) / 448
        out += [math.copysign(scale * nearest(abs(x) / scale), x) for x in part]
    return out


def distance(found, wanted):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(found, wanted)) / sum(b * b for b in wanted))


def convert_float(otherwise):
    """The interpreter's own loses the carry of a mantissa that is rounded up: it makes 1.99 1.0 in e4m3, and half of what it rounds
    up to a power of two in bf16. A GPU rounds to nearest even, as torch does."""
    from triton import language as tl

    types = {tl.float8e4nv: torch.float8_e4m3fn, tl.bfloat16: torch.bfloat16}

    def convert(input, input_dtype, output_dtype, rounding_mode):
        if input_dtype != tl.float32 or output_dtype not in types:
            return otherwise(input, input_dtype, output_dtype, rounding_mode)
        bits = {1: torch.uint8, 2: torch.int16}[types[output_dtype].itemsize]
        rounded = torch.from_numpy(input.view("float32").copy()).to(types[output_dtype]).view(bits).numpy()
        return rounded.view(f"uint{8 * rounded.itemsize}")

    return convert


if triton is not None and torch is not None:
    interpreter._convert_float = convert_float(interpreter._convert_float)


class Handed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        subprocess.run([PROGRAM, "inputs", "--inputs", folder.name, "--shapes", "tiny", "--tokens", str(TOKENS), "--skews", "1.2",
                        "--e4m3", "--reference"], check=True)
        cls.path = f"{folder.name}/tiny-{TOKENS}-1.2"


class Files(Handed):
    """In plain Python."""

    def weights(self, name, number, width):
        """Row `number` of a tensor of rows of `width`, dequantised."""
        codes, scales = self.blocks[name]
        scale = lambda i: scales[(number // BLOCK * (width // BLOCK) + i // BLOCK) % len(scales)]
        return [VALUES[codes[(number * width + i) % len(codes)]] * scale(i) for i in range(width)]

    def layer(self, x, ids, weights, quantise):
        dot = lambda a, b: sum(x * y for x, y in zip(a, b))
        out = [0.0] * HIDDEN
        for expert, weight in zip(ids, weights):
            rows = quantise(x)
            gate = [dot(rows, self.weights("gate-up", expert * 2 * INTERMEDIATE + i, HIDDEN)) for i in range(INTERMEDIATE)]
            up = [dot(rows, self.weights("gate-up", (expert * 2 + 1) * INTERMEDIATE + i, HIDDEN)) for i in range(INTERMEDIATE)]
            act = quantise([g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)])
            for h in range(HIDDEN):
                out[h] += weight * dot(act, self.weights("down", expert * HIDDEN + h, INTERMEDIATE))
        return out

    def test_the_layer_of_the_repeated_blocks_is_moecs_own(self):
        self.blocks = {name: (read(self.folder / f"{name}.e4m3", "B"), read(self.folder / f"{name}.scales", "f"))
                       for name in ("gate-up", "down")}
        self.assertGreater(EXPERTS * 2 * INTERMEDIATE * HIDDEN, len(self.blocks["gate-up"][0]))
        bits = read(self.folder / "hidden.bf16", "H")[: TOKENS * HIDDEN]
        hidden = array.array("f", array.array("I", (b << 16 for b in bits)).tobytes())
        ids, weights = read(f"{self.path}.i32", "i"), read(f"{self.path}.f32", "f")
        expected = read(f"{self.path}.f64", "d")
        for token in range(TOKENS):
            row = slice(token * HIDDEN, (token + 1) * HIDDEN)
            pairs = slice(token * TOP_K, (token + 1) * TOP_K)
            # moec rounds activated rows to bf16 before it quantises them, which moves some to the neighbouring code.
            self.assertLess(distance(self.layer(hidden[row], ids[pairs], weights[pairs], quantised), expected[row]), 1.5e-2)
            exact = distance(self.layer(hidden[row], ids[pairs], weights[pairs], lambda row: row), expected[row])
            self.assertTrue(3e-2 < exact < 7e-2, exact)  # what quantising costs

    def test_every_code_is_there_in_proportion(self):
        codes = read(self.folder / "gate-up.e4m3", "B")
        self.assertNotIn(127, codes)
        self.assertNotIn(255, codes)
        deviation = math.sqrt(sum(VALUES[code] ** 2 for code in codes[:100000]) / 100000)
        self.assertAlmostEqual(deviation, 100, delta=2)
        scales = read(self.folder / "gate-up.scales", "f")
        self.assertTrue(1e-4 * (1 - 1e-6) <= min(scales) < 1.1e-4 and 3.9e-4 < max(scales) <= 4e-4 * (1 + 1e-6))


@unittest.skipIf(torch is None, "this Python has no torch")
class Torch(Handed):
    def setUp(self):
        from rivals import e4m3, inputs

        self.inputs, self.e4m3 = inputs, e4m3
        self.layer = inputs.E4m3Layer(SIZES, self.folder, "cpu")
        problem = inputs.Inputs(self.layer, self.path, TOKENS)
        self.x, self.ids, self.weights = problem.x[0], problem.ids[0], problem.weights[0]

    def moecs(self):
        return self.inputs.values(f"{self.path}.f64", torch.float64).view(TOKENS, HIDDEN)

    def right(self, variant):
        """That a variant's output is that of moec's rules, give or take neighbouring codes of the activation."""
        found = variant.run(self.x, self.ids, self.weights, variant.prepare(self.ids, self.weights))
        self.assertLess(self.inputs.error(found, self.moecs().float()), 2.2e-2, variant.label)
        self.assertLess(self.inputs.error(found, self.layer.expected(self.x, self.ids, self.weights)), 7e-2, variant.label)


class Layers(Torch):
    def test_codes_and_scales_are_moecs_bit_by_bit(self):
        codes, scales = self.e4m3.quantise(self.x)
        self.assertTrue(torch.equal(codes.view(torch.uint8).flatten(), self.inputs.values(f"{self.path}.codes", torch.uint8)))
        stride = -(-TOKENS // 4) * 4
        given = self.inputs.values(f"{self.path}.scales", torch.float32).view(-1, stride)[:, :TOKENS]
        self.assertTrue(torch.equal(scales, given.T))

    def test_a_row_of_zeros_and_one_of_odd_width_are_quantised(self):
        codes, scales = self.e4m3.quantise(torch.zeros(1, 128))
        self.assertEqual((codes.float().abs().max().item(), scales.item()), (0, (torch.tensor(2.0**-100) / 448).item()))
        x = torch.linspace(-3, 7, 200)[None]
        codes, scales = self.e4m3.quantise(x)
        self.assertEqual((codes.shape, scales.shape), ((1, 200), (1, 2)))
        self.assertEqual(scales[0, 1].item(), 7 / 448)
        self.assertLess(((self.e4m3.dequantised(codes, scales) - x).abs() / x.abs()).max().item(), STEP)

    def test_the_float32_layer_differs_from_moecs_by_what_quantising_costs(self):
        from rivals.contest import MAX_ERROR

        error = lambda: self.inputs.error(self.layer.expected(self.x, self.ids, self.weights), self.moecs().float())
        self.assertTrue(3e-2 < error() < MAX_ERROR["e4m3"] / 1.2, error())
        # Faults are beyond the limit: gate and up exchanged, blocks of scales exchanged, another expert's scales.
        for tensor, shift, axis in (("w13", INTERMEDIATE, 1), ("s13", 1, 1), ("s13", 1, 2), ("s2", 1, 1), ("s2", 1, 0)):
            whole = getattr(self.layer, tensor)
            setattr(self.layer, tensor, whole.view(torch.uint8).roll(shift, axis).view(whole.dtype) if tensor == "w13"
                    else whole.roll(shift, axis))
            self.assertGreater(error(), MAX_ERROR["e4m3"], (tensor, axis))
            setattr(self.layer, tensor, whole)


def row_products(codes, scales, layer_codes, layer_scales, expert):
    """[M, K] e4m3 times an expert's [N, K], as DeepGEMM gives them: bf16."""
    from rivals import e4m3

    return (e4m3.dequantised(codes, scales) @ e4m3.dequantised_weights(layer_codes[expert], layer_scales[expert]).T).bfloat16()


def check_scales(test, codes, scales):
    """DeepGEMM's: M contiguous, a row of M a multiple of 16 bytes from the next."""
    test.assertEqual(tuple(scales.shape), (*codes.shape[:-1], codes.shape[-1] // BLOCK))
    test.assertEqual(scales.stride()[-2:], (1, codes.shape[-2]))
    test.assertEqual(codes.shape[-2] % 4, 0)
    if codes.dim() == 3:
        test.assertEqual(scales.stride(0), scales.shape[1] * scales.shape[2])


@unittest.skipIf(triton is None, "this Python has no Triton")
class Adapters(Torch):
    def fake(self, name, **members):
        module = types.ModuleType(name)
        vars(module).update(members)
        self.addCleanup(sys.modules.pop, name, None)
        sys.modules[name] = module
        return module

    def test_the_triton_layer_is_right_with_every_tile(self):
        from rivals.triton_e4m3 import TritonE4m3, TritonE4m3Products

        for variant in TritonE4m3().build(self.layer) + TritonE4m3Products().build(self.layer)[:1]:
            self.right(variant)

    def test_deepgemms_products_are_fed_right(self):
        # Stand for its products: rows of no expert, and of no pair, are NaN, as what memory holds may be.
        def contiguous(a, b, d, expert_of_row):
            check_scales(self, *a)
            self.assertEqual((expert_of_row.dtype, len(expert_of_row)), (torch.int32, len(a[0])))
            d.fill_(math.nan)
            for expert in expert_of_row.unique().tolist():
                if expert >= 0:
                    rows = expert_of_row == expert
                    self.assertTrue(rows.sum() % 128 == 0 and rows.nonzero()[0] % 128 == 0)
                    d[rows] = row_products(a[0][rows], a[1][rows], *b, expert)

        def masked(a, b, d, counts, expected):
            check_scales(self, *a)
            self.assertEqual((counts.dtype, counts.sum().item()), (torch.int32, TOKENS * TOP_K))
            self.assertGreater(expected, 0)
            d.fill_(math.nan)
            for expert in counts.nonzero().flatten().tolist():
                rows = slice(0, counts[expert])
                d[expert, rows] = row_products(a[0][expert, rows], a[1][expert, rows], *b, expert)

        self.fake("deep_gemm", m_grouped_fp8_gemm_nt_contiguous=contiguous, m_grouped_fp8_gemm_nt_masked=masked,
                  get_mk_alignment_for_contiguous_layout=lambda: 128)
        from rivals.deepgemm_e4m3 import DeepGemmE4m3, DeepGemmE4m3Sorted

        for rival in (DeepGemmE4m3(), DeepGemmE4m3Sorted()):
            variants = rival.build(self.layer)
            self.assertEqual([variant.label for variant in variants], ["contiguous", "masked"])
            for variant in variants:
                self.right(variant)

    def given_layer(self, x, ids, weights, w13, s13, w2, s2):
        layer = self.inputs.E4m3Layer(SIZES, self.folder, "cpu")
        layer.w13, layer.s13, layer.w2, layer.s2 = w13, s13, w2, s2
        return layer.expected(x, ids, weights).bfloat16()

    def test_vllm_is_given_weights_and_scales_by_either_interface(self):
        def newer(hidden_states, w1, w2, topk_weights, topk_ids, quant_config=None):
            self.assertEqual(quant_config["block_shape"], [128, 128])
            return self.given_layer(hidden_states, topk_ids, topk_weights, w1, quant_config["w1_scale"], w2, quant_config["w2_scale"])

        def older(hidden_states, w1, w2, topk_weights, topk_ids, inplace=True, use_fp8_w8a8=False, w1_scale=None, w2_scale=None,
                  block_shape=None, allow_deep_gemm=False):
            self.assertEqual((inplace, use_fp8_w8a8, block_shape), (False, True, [128, 128]))
            return self.given_layer(hidden_states, topk_ids, topk_weights, w1, w1_scale, w2, w2_scale)

        from rivals.vllm_experts import VllmE4m3

        package = "vllm.model_executor.layers.fused_moe"
        for name in ("vllm", "vllm.model_executor", "vllm.model_executor.layers"):
            self.fake(name, __path__=[])
        for fused_experts, labels in ((newer, ["its own choice"]), (older, ["its own choice", "deepgemm inside"])):
            self.fake(package, __path__=[], fused_experts=fused_experts)
            self.fake(f"{package}.config", fp8_w8a8_moe_quant_config=lambda w1_scale, w2_scale, block_shape: {
                "w1_scale": w1_scale, "w2_scale": w2_scale, "block_shape": block_shape})
            self.assertIsNone(VllmE4m3().available())
            variants = VllmE4m3().build(self.layer)
            self.assertEqual([variant.label for variant in variants], labels)
            for variant in variants:
                found = variant.run(self.x, self.ids, self.weights, None)
                self.assertLess(self.inputs.error(found, self.layer.expected(self.x, self.ids, self.weights)), 3e-3)

    def test_flashinfer_gets_up_before_gate_in_weights_and_scales(self):
        def layer(input, token_selected_experts, token_final_scales, fc1_expert_weights, fc2_expert_weights, output_dtype,
                  quant_scales, use_deepseek_fp8_block_scale=False):
            self.assertTrue(use_deepseek_fp8_block_scale and output_dtype == torch.bfloat16)
            halves = [part.chunk(2, 1) for part in (fc1_expert_weights.view(torch.uint8), quant_scales[0])]
            w13, s13 = (torch.cat([gate, up], 1) for up, gate in halves)
            return [self.given_layer(input, token_selected_experts, token_final_scales, w13.view(torch.float8_e4m3fn), s13,
                                     fc2_expert_weights, quant_scales[1])]

        self.fake("flashinfer", __path__=[], autotune=lambda *_, **__: self.fail("this layer has no tactics"))
        self.fake("flashinfer.fused_moe", cutlass_fused_moe=layer)
        from rivals.flashinfer_cutlass import FlashInferE4m3

        (variant,) = FlashInferE4m3().build(self.layer)
        found = variant.run(self.x, self.ids, self.weights, variant.prepare(self.ids, self.weights))
        self.assertLess(self.inputs.error(found, self.layer.expected(self.x, self.ids, self.weights)), 3e-3)


@unittest.skipIf(torch is None or triton is None, "this Python has no torch, or no Triton")
class Pieces(unittest.TestCase):
    def near(self, codes, scales, x, most=0):
        """That rows are x's but for `most` elements, which have a neighbouring code."""
        from rivals import e4m3

        expected_codes, expected = e4m3.quantise(x)
        torch.testing.assert_close(scales, expected, rtol=1e-6, atol=0)
        apart = (codes.view(torch.uint8).int() - expected_codes.view(torch.uint8).int()).abs()
        self.assertLessEqual(apart.max().item(), 1)
        self.assertLessEqual(apart.sum().item(), most)

    def test_tokens_go_quantised_into_all_their_slots(self):
        from rivals import pieces_e4m3

        x = torch.randn(5, 384, generator=torch.Generator().manual_seed(1)).bfloat16()
        x[2, 128:256] = 0
        slots = torch.tensor([3, 9, 0, 5, 1, 8, 11, 2, 4, 10])
        for groups, rows in ((None, 12), (3, 4)):
            codes = torch.zeros(12, 384, dtype=torch.uint8).view(torch.float8_e4m3fn)
            scales = pieces_e4m3.scales_of(rows, 384, "cpu", groups)
            pieces_e4m3.quantise_rows(x, slots, codes, scales)
            flat = scales.reshape(12, 3)
            self.near(codes.view(torch.uint8)[slots].view(torch.float8_e4m3fn), flat[slots], x.repeat_interleave(2, 0))
            self.assertFalse(codes.view(torch.uint8)[[6, 7]].any())

    def test_activated_rows_are_quantised_where_they_are(self):
        from rivals import pieces_e4m3

        gate_up = torch.randn(6, 2 * 256, generator=torch.Generator().manual_seed(2)).bfloat16()
        gate, up = gate_up.float().chunk(2, 1)
        for slots, rows in ((torch.tensor([5, 0, 3]), [5, 0, 3]), (None, list(range(6)))):
            codes, scales = torch.empty(6, 256, dtype=torch.float8_e4m3fn), pieces_e4m3.scales_of(6, 256, "cpu")
            pieces_e4m3.silu_mul_quantise(gate_up, slots, codes, scales)
            self.near(codes.view(torch.uint8)[rows].view(torch.float8_e4m3fn), scales[rows],
                      (torch.nn.functional.silu(gate) * up)[rows], most=2)


if __name__ == "__main__":
    unittest.main()
