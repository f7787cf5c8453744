#!/usr/bin/env python3
"""tools/bench/turns.py without a GPU: who is measured when, and what the line says."""

import pathlib
import sys
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools/bench"))
import turns  # noqa: E402


class Parser:
    def error(self, text):
        raise ValueError(text)


class Moec:
    folder = "nowhere"

    def __init__(self, floor, said):
        self.floor, self.said = floor, said

    def time(self, shape, tokens, skew, repeats, kernels, leave=False):
        self.said.append(("moec", skew, repeats, kernels, *["leaves inputs"] * leave))
        return {"slow": 200.0, "quick": 100.0} if "," in kernels else {kernels.removeprefix("="): 90.0}, self.floor


class Cell(unittest.TestCase):
    def run_cell(self, floor, *skew):
        said = []

        class Rival:
            layers = 4

            def __init__(self, layer, variant, path, tokens):
                self.path = path

            def time(self, repeats):
                said.append(("rival", repeats, self.path))
                return 135.0

        self.addCleanup(setattr, turns, "Rival", turns.Rival)
        turns.Rival = Rival
        options = types.SimpleNamespace(rounds=2, repeats=9, kernels="slow,quick")
        return turns.cell(options, Moec(floor, said), None, [None], "olmoe", 4096, *skew), said

    def test_the_quickest_kernels_go_on_in_turns_with_the_rival(self):
        row, said = self.run_cell(50.0)
        path = "nowhere/olmoe-4096-0.0"
        turn = [("rival", 9, path), ("moec", 0.0, 9, "=quick")]
        self.assertEqual(said, [("moec", 0.0, 9, "slow,quick", "leaves inputs"), *turn, *turn, ("rival", 1500, path),
                                ("moec", 0.0, 1500, "=quick")])
        self.assertEqual(turns.line(row), "olmoe        4096  0.0 quick: moec 90.0 90.0, rival 135.0 135.0, 1.500x; "
                                          "sustained 90.0, 135.0, 1.500x")

    def test_a_skewed_cell_is_that_of_both(self):
        row, said = self.run_cell(50.0, 1.2)
        self.assertEqual(row["skew"], 1.2)
        self.assertEqual({entry[1] for entry in said if entry[0] == "moec"}, {1.2})
        self.assertEqual({entry[2] for entry in said if entry[0] == "rival"}, {"nowhere/olmoe-4096-1.2"})

    def test_cells_are_parsed_or_named(self):
        parse = lambda text: turns.parse_cells(Parser(), text)
        self.assertEqual(parse("mixtral:16384,olmoe:1:3,qwen3-30b:64:1.2"),
                         [("mixtral", 16384, 0.0), ("olmoe", 1, 3.0), ("qwen3-30b", 64, 1.2)])
        self.assertEqual(len(parse(turns.CELLS)), 9)
        for bad in ("olmoe", "olmoe:", "olmoe:0", "olmoe:x", "olmoe:1:", "olmoe:1:-1", "olmoe:1:nan", "olmoe:1:1:1", "nobody:1", ""):
            with self.subTest(bad), self.assertRaisesRegex(ValueError, f"'{bad}' is no SHAPE:TOKENS"):
                parse("olmoe:16," + bad)

    def test_the_rivals_are_those_of_the_weights(self):
        of = lambda weights, rival=None: turns.opponent(Parser(), types.SimpleNamespace(weights=weights, rival=rival))
        self.assertEqual((of("bf16").name, of("e4m3").name), ("triton_kernels", "triton"))
        self.assertIsNot(of("bf16", "deepgemm"), of("e4m3", "deepgemm"))
        with self.assertRaisesRegex(ValueError, "no rival triton_kernels in e4m3; there are triton, vllm, flashinfer, deepgemm"):
            of("e4m3", "triton_kernels")


if __name__ == "__main__":
    unittest.main()
