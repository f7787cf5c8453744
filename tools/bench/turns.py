#!/usr/bin/env python3
"""moec and one rival in turns, a cell at a time: who is quicker on a card whose clock follows its power.

    tools/bench/turns.py --moec build/release/bin/moec-bench-gpu --bundle BUNDLE --json FILE [--rival triton_kernels]
                         [--cells mixtral:16384,mixtral:16384:3,...] [--kernels fitted-bf16-192x256-s4-b1,...] [--rounds 3] [--repeats 9]
                         [--e4m3]

peers.py measures all of moec's tile classes back to back and then the rivals, with pauses in which their inputs are made. Where a
layer takes milliseconds at full power the clock falls by a quarter meanwhile, and whoever comes last looks slow. Here moec's best
tile class and the rival's best variant run the same inputs `rounds` times in turns; then each for some 0.6 s on end. moec is a
process a turn, which starts for about a second; the rival follows as it ends, so where the card is still hot the rival's first
turn is its best. Medians of layers in CUDA graphs, as there. The rival's answers are peers.py's to check.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

import peers
import rivals
from rivals.protocol import Problem

CELLS = "mixtral:16384,mixtral:4096,mixtral:1024,dsv3-slice:16384,dsv3-slice:4096,olmoe:16384,olmoe:4096,qwen3-30b:16384,qwen3-30b:4096"
KERNELS = {"bf16": "=fitted-bf16-192x256-s4-b1,=hopper-bf16-128x256-s4-b1", "e4m3": "fp8"}  # tiles to choose from
SUSTAINED_US = 600e3


class Moec:
    """moec-bench-gpu, a process a measurement."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder

    def leave_blocks(self):
        """Writes what layers are made of into the folder."""
        e4m3 = ["--e4m3"] if self.options.weights == "e4m3" else []
        subprocess.run([self.options.moec, "inputs", "--inputs", self.folder, "--shapes", "tiny", "--tokens", "1", *e4m3], check=True)

    def time(self, shape, tokens, skew, repeats, kernels, leave=False):
        """({kernels: us}, the floor in us). Leaves the inputs in the folder where it shall: that takes time in which cards cool."""
        out = pathlib.Path(self.folder) / "moec.jsonl"
        out.unlink(missing_ok=True)  # it is appended to
        measure = ["measure-fp8", "--alone"] if self.options.weights == "e4m3" else ["measure"]
        command = [self.options.moec, *measure, "--bundle", self.options.bundle, "--shapes", shape, "--tokens", str(tokens), "--skews", str(skew),
                   "--repeats", str(repeats), "--overlap", "--kernels", kernels, "--json", str(out)]
        command += ["--inputs", self.folder] if leave else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        return {row["kernels"]: row["us"] for row in rows}, rows[0]["floor_us"]


class Rival:
    """A rival's variant on one cell's inputs, in a graph."""

    def __init__(self, layer, variant, path, tokens):
        import torch
        from rivals.inputs import Inputs

        given = Inputs(layer, path, tokens)
        prepared = [variant.prepare(*pair) for pair in zip(given.ids, given.weights)]
        inputs = list(zip(given.x, given.ids, given.weights, prepared))
        with torch.cuda.stream(torch.cuda.Stream()):
            self.queue(variant, inputs)  # compiles and warms up
        torch.cuda.synchronize()
        self.torch, self.layers, self.inputs, self.graph = torch, len(inputs), inputs, torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.queue(variant, inputs)

    @staticmethod
    def queue(variant, inputs):
        for one in inputs:
            variant.run(*one)

    def time(self, repeats):
        self.graph.replay()
        times = []
        for _ in range(repeats):
            start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            self.graph.replay()
            end.record()
            self.torch.cuda.synchronize()
            times.append(start.elapsed_time(end) * 1000 / self.layers)
        return statistics.median(times)


def quickest(layer, variants, path, tokens, repeats):
    """Of the variants that take this size; one that is alone is not timed."""
    if len(variants) > 1:
        from rivals.inputs import Inputs

        ids = Inputs(layer, path, tokens).ids[0]
        problem = Problem(tokens=tokens, rows=ids.numel() / len(ids.unique()))
        variants = [variant for variant in variants if variant.takes(problem)]
    rivals_here = [Rival(layer, variant, path, tokens) for variant in variants]
    return rivals_here[0] if len(rivals_here) == 1 else min(rivals_here, key=lambda rival: rival.time(repeats))


def parse_cells(parser, text):
    """[(shape, tokens, Zipf's exponent)] of SHAPE:TOKENS[:SKEW],..."""
    cells = []
    for part in text.split(","):
        shape, *numbers = part.split(":")
        try:
            tokens, skew = int(numbers[0]), float(numbers[1]) if len(numbers) > 1 else 0.0
            if shape not in peers.SHAPES or tokens < 1 or not 0 <= skew < 100 or len(numbers) > 2:
                raise ValueError
        except (IndexError, ValueError):
            parser.error(f"'{part}' is no SHAPE:TOKENS[:SKEW]; shapes are {', '.join(peers.SHAPES)}")
        cells.append((shape, tokens, skew))
    return cells


def cell(options, moec, layer, variants, shape, tokens, skew=0.0):
    first, floor = moec.time(shape, tokens, skew, options.repeats, options.kernels, leave=True)
    best = min(first, key=first.get)
    rival = quickest(layer, variants, f"{moec.folder}/{shape}-{tokens}-{skew:.1f}", tokens, options.repeats)
    row = {"shape": shape, "tokens": tokens, "skew": skew, "floor_us": floor, "kernels": best, "first": first, "moec": [], "rival": []}
    for _ in range(options.rounds):
        row["rival"].append(rival.time(options.repeats))
        row["moec"].append(moec.time(shape, tokens, skew, options.repeats, f"={best}")[0][best])
    many = max(options.repeats, int(SUSTAINED_US / (first[best] * rival.layers)))
    row["rival_sustained"] = rival.time(many)
    row["moec_sustained"] = moec.time(shape, tokens, skew, many, f"={best}")[0][best]
    return row


def line(row):
    times = lambda values: " ".join(f"{value:.1f}" for value in values)
    ratio = statistics.median(row["rival"]) / statistics.median(row["moec"])
    return (f"{row['shape']:10} {row['tokens']:6} {row['skew']:4.1f} {row['kernels']}: moec {times(row['moec'])}, rival {times(row['rival'])}, {ratio:.3f}x; "
            f"sustained {row['moec_sustained']:.1f}, {row['rival_sustained']:.1f}, {row['rival_sustained'] / row['moec_sustained']:.3f}x")


def opponent(parser, options):
    known = {rival.name: rival for rival in rivals.of(options.weights)[0]}
    name = options.rival or {"bf16": "triton_kernels", "e4m3": "triton"}[options.weights]
    if name not in known:
        parser.error(f"no rival {name} in {options.weights}; there are {', '.join(known)}")
    return known[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moec", default="build/release/bin/moec-bench-gpu", help="moec-bench-gpu")
    parser.add_argument("--bundle", required=True, help="folder that `moec-bench-gpu build` wrote")
    parser.add_argument("--rival", help="by the name that `peers.py --list` prints; triton_kernels, and triton with --e4m3")
    parser.add_argument("--cells", default=CELLS, help="SHAPE:TOKENS[:SKEW],...; those of a shape beside each other; SKEW is Zipf's exponent, 0 is uniform")
    parser.add_argument("--kernels", help="tile classes to choose from; some large ones, and all with --e4m3")
    parser.add_argument("--e4m3", dest="weights", action="store_const", const="e4m3", default="bf16",
                        help="layers of e4m3 weights with a scale for each block of 128 by 128")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", required=True, help="write everything as one JSON object")
    options = parser.parse_args()
    cells = parse_cells(parser, options.cells)
    rival, options.kernels = opponent(parser, options), options.kernels or KERNELS[options.weights]

    import torch
    from rivals.inputs import LAYERS

    torch.set_grad_enabled(False)
    if reason := rival.available():
        raise SystemExit(f"turns: {rival.name}: {reason}")
    rows, built = [], None
    with tempfile.TemporaryDirectory() as folder:
        moec = Moec(options, folder)
        moec.leave_blocks()
        for shape, tokens, skew in cells:
            if built != shape:
                layer = variants = None  # room for the next shape's weights
                torch.cuda.empty_cache()
                layer, built = LAYERS[options.weights](peers.SHAPES[shape], folder), shape
                variants = rival.build(layer)
            rows.append(cell(options, moec, layer, variants, shape, tokens, skew))
            print(line(rows[-1]), flush=True)
            document = {"schema": "moec.turns", "schema_version": 2, "device": torch.cuda.get_device_name(), "rival": rival.name,
                        "weights": options.weights, "version": rival.version(), "rows": rows}
            pathlib.Path(options.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
