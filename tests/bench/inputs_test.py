#!/usr/bin/env python3
"""What moec-bench-gpu hands to rivals is what it measures on itself: by its own float64 output for it. No GPU.

    inputs_test.py MOEC_BENCH_GPU
"""

import array
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/bench"))
try:
    import torch
except ImportError:
    torch = None

PROGRAM = sys.argv.pop(1)
HIDDEN, INTERMEDIATE, EXPERTS, TOP_K = SIZES = 256, 128, 96, 2  # "tiny", whose gate-up weights are more than a block
TOKENS, ROUTINGS = 3, 8


def read(path, code):
    values = array.array(code)
    values.frombytes(pathlib.Path(path).read_bytes())
    return values


def bf16(bits):
    """Exact values of bf16 bits."""
    return array.array("f", array.array("I", (value << 16 for value in bits)).tobytes())


class Handed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        subprocess.run([PROGRAM, "inputs", "--inputs", folder.name, "--shapes", "tiny", "--tokens", str(TOKENS), "--skews", "0,1.2",
                        "--reference"], check=True)
        cls.path = f"{folder.name}/tiny-{TOKENS}-1.2"


class Files(Handed):
    def test_every_problem_has_its_files(self):
        pairs = 4 * ROUTINGS * TOKENS * TOP_K
        for skew in ("0.0", "1.2"):
            for ending, size in (("i32", pairs), ("f32", pairs), ("f64", 8 * TOKENS * HIDDEN)):
                self.assertEqual((self.folder / f"tiny-{TOKENS}-{skew}.{ending}").stat().st_size, size, ending)
        weights = read(f"{self.path}.f32", "f")
        for pair in range(0, len(weights), TOP_K):
            self.assertAlmostEqual(sum(weights[pair : pair + TOP_K]), 1, places=6)

    def test_the_layer_of_the_repeated_blocks_is_moecs_own(self):
        block = {name: bf16(read(self.folder / f"{name}.bf16", "H")) for name in ("hidden", "gate-up", "down")}
        self.assertGreater(EXPERTS * 2 * INTERMEDIATE * HIDDEN, len(block["gate-up"]))

        def row(name, number, width):
            values = block[name]
            return [values[i % len(values)] for i in range(number * width, (number + 1) * width)]

        def dot(a, b):
            return sum(x * y for x, y in zip(a, b))

        ids, weights = read(f"{self.path}.i32", "i"), read(f"{self.path}.f32", "f")
        expected = read(f"{self.path}.f64", "d")
        for token in range(TOKENS):
            x, out = row("hidden", token, HIDDEN), [0.0] * HIDDEN
            for pair in range(token * TOP_K, (token + 1) * TOP_K):
                gate = [dot(x, row("gate-up", ids[pair] * 2 * INTERMEDIATE + i, HIDDEN)) for i in range(INTERMEDIATE)]
                up = [dot(x, row("gate-up", (ids[pair] * 2 + 1) * INTERMEDIATE + i, HIDDEN)) for i in range(INTERMEDIATE)]
                act = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)]
                for h in range(HIDDEN):
                    out[h] += weights[pair] * dot(act, row("down", ids[pair] * HIDDEN + h, INTERMEDIATE))
            wanted = expected[token * HIDDEN : (token + 1) * HIDDEN]
            distance = math.sqrt(sum((a - b) ** 2 for a, b in zip(out, wanted)))
            self.assertLess(distance, 1e-9 * math.sqrt(dot(wanted, wanted)))


@unittest.skipIf(torch is None, "this Python has no torch")
class Torch(Handed):
    """What the worker of peers.py makes of the same files."""

    def setUp(self):
        from rivals import inputs

        self.inputs = inputs
        self.layer = inputs.Layer(SIZES, self.folder, "cpu")
        self.problem = inputs.Inputs(self.layer, self.path, TOKENS)

    def test_elements_repeat_after_a_block(self):
        flat, block = self.layer.w13.view(-1), self.inputs.values(self.folder / "gate-up.bf16", torch.bfloat16)
        self.assertTrue(torch.equal(flat[: len(block)], block))
        self.assertTrue(torch.equal(flat[len(block) :], block[: len(flat) - len(block)]))

    def test_the_float32_layer_is_moecs_own(self):
        x, ids, weights = (part[0] for part in (self.problem.x, self.problem.ids, self.problem.weights))
        expected = self.inputs.values(f"{self.path}.f64", torch.float64).view(TOKENS, HIDDEN)
        found = self.layer.expected(x, ids, weights)
        self.assertLess(self.inputs.error(found, expected), 1e-5)
        # Not by chance: the halves of gate and up exchanged, or another expert, are far off.
        self.layer.w13 = self.layer.w13.roll(INTERMEDIATE, 1)
        self.assertGreater(self.inputs.error(self.layer.expected(x, ids, weights), expected), 0.5)
        self.layer.w13 = self.layer.w13.roll(INTERMEDIATE, 1)
        self.assertGreater(self.inputs.error(self.layer.expected(x, (ids + 1) % EXPERTS, weights), expected), 0.5)

    def test_an_output_of_moecs_is_read_where_there_is_one(self):
        self.assertIsNone(self.problem.moec_output())
        expected = self.inputs.values(f"{self.path}.f64", torch.float64).view(TOKENS, HIDDEN)
        output = pathlib.Path(f"{self.path}.bf16")
        self.addCleanup(output.unlink)
        output.write_bytes(bytes(expected.bfloat16().view(torch.uint8).flatten().tolist()))
        error = self.inputs.error(self.problem.moec_output(), expected)
        self.assertTrue(1e-3 < error < 2.5e-3, error)  # rounding to bf16 once

    def test_the_worker_finds_the_wrong_variant(self):
        from rivals import contest, worker
        from rivals.protocol import Variant

        class Bench(worker.Bench):
            def time(self, variant):
                return 1.0, "graph"

        def layer(exchanged):
            def run(x, ids, weights, _):
                out = torch.zeros(x.shape)
                for token, k in ((token, k) for token in range(TOKENS) for k in range(TOP_K)):
                    gate, up = (self.layer.w13[ids[token, k]] @ x[token]).chunk(2)
                    gate, up = (up, gate) if exchanged else (gate, up)
                    out[token] += weights[token, k] * (self.layer.w2[ids[token, k]] @ (torch.nn.functional.silu(gate) * up))
                return out.bfloat16()

            return Variant("exchanged" if exchanged else "right", run)

        bench = Bench(self.layer, {"path": self.path, "tokens": TOKENS}, repeats=1, rest=0)
        entry, wrong, reasons = contest.contest([layer(True), layer(False)], bench.problem, bench)
        self.assertEqual((entry.variant, wrong), ("right", None))
        self.assertGreater(entry.error, 1e-3)  # bf16, so not float32 against itself
        self.assertRegex(reasons[0], "^exchanged: wrong, relative error ")
        self.assertIsNone(bench.error_of_moec())

    def test_one_wrong_token_among_many_shows(self):
        expected = torch.ones(1000, 8)
        found = expected.clone()
        found[17] = -1
        self.assertEqual(self.inputs.error(found, expected), 2.0)
        with self.assertRaises(ValueError):
            self.inputs.error(found[:1], expected)


if __name__ == "__main__":
    unittest.main()
