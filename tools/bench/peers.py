#!/usr/bin/env python3
"""moec beside other MoE layers, on the same routings, in one run on one GPU.

    tools/bench/peers.py --moec build/release/bin/moec-bench-gpu --bundle BUNDLE [--tokens 1,16,...] [--skews 0,1.2]
                         [--shapes olmoe,...] [--repeats 11] [--json FILE]

`moec-bench-gpu build --bundle BUNDLE` makes the kernels, anywhere. Per shape, moec runs first and leaves its routings; then each
rival that this Python has runs on them, every variant checked against float64 on a few tokens before it is timed. A missing rival
is a line that says so.

A layer is dispatch, both products, activation and combine, in bf16. Times are medians over replays of a CUDA graph that holds as
many layers as there are routings (different routings in turn, so that a replay reads more weights than the cache holds).
"""

import argparse
import glob
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rivals  # noqa: E402

SHAPES = {  # hidden, intermediate, experts, top-k
    "olmoe": (2048, 1024, 64, 8),
    "qwen3-30b": (2048, 768, 128, 8),
    "mixtral": (4096, 14336, 8, 2),
    "dsv3-slice": (7168, 2048, 32, 1),
}
MAX_ERROR = 2e-2  # relative L2 against float64: bf16 rounds activations, products and output


class Layer:
    """Weights of one shape, as transformers keeps them: w13 [E, 2I, H] (gate, then up) and w2 [E, H, I]."""

    def __init__(self, shape):
        self.hidden, self.intermediate, self.experts, self.top_k = SHAPES[shape]
        make = lambda *size: torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02
        self.w13 = make(self.experts, 2 * self.intermediate, self.hidden)
        self.w2 = make(self.experts, self.hidden, self.intermediate)
        self.rows_per_expert = 0.0

    def expected(self, x, ids, weights, tokens):
        """The first `tokens` tokens in float64."""
        out = torch.zeros(tokens, self.hidden, device="cuda", dtype=torch.float64)
        for token in range(tokens):
            row = x[token].double()
            for expert, weight in zip(ids[token].tolist(), weights[token].double()):
                w13, w2 = self.w13[expert].double(), self.w2[expert].double()
                h = w13 @ row
                act = torch.nn.functional.silu(h[: self.intermediate]) * h[self.intermediate:]
                out[token] += weight * (w2 @ act)
        return out


def time_graph(run, layers, repeats):
    """Median microseconds of a layer; `run` queues `layers` of them."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()  # compiles and warms up
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    graph.replay()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) * 1000 / layers)
    return statistics.median(times)


def time_rival(make, layer, x, ids, weights, expected, repeats):
    """The best variant's (microseconds, label), or (None, why there is none)."""
    try:
        variants = make(layer)
    except rivals.Missing as missing:
        return None, f"missing: {missing}"
    except Exception as error:
        return None, f"missing: {type(error).__name__}: {str(error).splitlines()[0][:100]}"
    best, reason = None, "no variant takes this size"
    for label, run, *most in variants:
        if most and x.shape[1] > most[0]:
            continue
        try:
            got = run(x[0], ids[0], weights[0])[: len(expected)].double()
            error = ((got - expected).norm() / expected.norm()).item()
            if not error < MAX_ERROR:
                reason = f"{label} is wrong: relative error {error:.1e}"
                continue
            us = time_graph(lambda: [run(x[i], ids[i], weights[i]) for i in range(len(ids))], len(ids), repeats)
        except Exception as error:
            reason = f"{label}: {type(error).__name__}: {(str(error) or '?').splitlines()[0][:100]}"
            torch.cuda.synchronize()
            continue
        if best is None or us < best[0]:
            best = us, label
    return best or (None, reason)


def run_moec(options, shape, folder):
    """moec's best kernels per problem: {(tokens, skew): row}. Leaves the routings in `folder`."""
    out = folder / f"{shape}.jsonl"
    command = [options.moec, "measure", "--bundle", options.bundle, "--shapes", shape, "--tokens", options.tokens, "--skews",
               options.skews, "--repeats", str(options.repeats), "--overlap", "--routings", str(folder), "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    rows = {}
    for line in out.read_text().splitlines():
        row = json.loads(line)
        key = row["tokens"], row["skew"]
        if key not in rows or row["us"] < rows[key]["us"]:
            rows[key] = row
    return rows


def compare(options, shape, folder, names):
    ours = run_moec(options, shape, folder)
    layer = Layer(shape)
    for path in sorted(glob.glob(f"{folder}/{shape}-*.i32"), key=lambda p: int(p.rsplit("-", 2)[1])):
        tokens, skew = os.path.basename(path)[len(shape) + 1 : -len(".i32")].rsplit("-", 1)
        tokens, skew = int(tokens), float(skew)
        ids = torch.from_numpy(numpy.fromfile(path, dtype=numpy.int32)).cuda().view(-1, tokens, layer.top_k)
        x = torch.randn(ids.shape[0], tokens, layer.hidden, device="cuda", dtype=torch.bfloat16)
        weights = torch.rand(ids.shape[0], tokens, layer.top_k, device="cuda") + 0.1
        weights /= weights.sum(-1, keepdim=True)
        layer.rows_per_expert = tokens * layer.top_k / max(1, len(torch.unique(ids[0])))
        expected = layer.expected(x[0], ids[0], weights[0], min(tokens, 4))
        mine = next(row for key, row in ours.items() if key[0] == tokens and abs(key[1] - skew) < 1e-6)
        row = {"shape": shape, "tokens": tokens, "skew": skew, "moec_us": mine["us"], "kernels": mine["kernels"],
               "floor_us": mine["floor_us"], "rivals": {}, "bounds": {}, "missing": {}}
        for group, table in (("rivals", rivals.RIVALS), ("bounds", rivals.BOUNDS)):
            for name, make in table.items():
                us, label = time_rival(make, layer, x, ids, weights, expected, options.repeats)
                if us is None:
                    row["missing"][name] = label
                else:
                    row[group][name] = {"us": us, "variant": label}
        yield row


def show(row, names):
    best = min((entry["us"] for entry in row["rivals"].values()), default=math.nan)
    cells = "".join(f"{row['rivals'].get(name, row['bounds'].get(name, {})).get('us', math.nan):11.1f}" for name in names)
    print(f"{row['shape']:10} {row['tokens']:6} {row['skew']:4.1f} {row['floor_us']:9.1f} {row['moec_us']:9.1f} "
          f"{row['floor_us'] / row['moec_us']:5.0%}{cells} {best / row['moec_us']:6.2f}x  {row['kernels']}", flush=True)
    return best / row["moec_us"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moec", default="build/release/bin/moec-bench-gpu", help="moec-bench-gpu")
    parser.add_argument("--bundle", required=True, help="folder that `moec-bench-gpu build` wrote")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--tokens", default="1,16,64,256,1024,4096,16384")
    parser.add_argument("--skews", default="0,1.2", help="Zipf exponents; 0 is uniform")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", help="write everything as one JSON object")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("peers: this torch sees no GPU")
    names = list(rivals.RIVALS) + list(rivals.BOUNDS)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; microseconds of a layer, bf16")
    print(f"{'shape':10} {'T':>6} {'skew':>4} {'floor':>9} {'moec':>9} share" + "".join(f"{name[:10]:>11}" for name in names)
          + "   ahead  kernels")
    rows, ratios = [], []
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes.split(","):
            for row in compare(options, shape, pathlib.Path(folder), names):
                rows.append(row)
                ratios.append(show(row, names))
            torch.cuda.empty_cache()
    missing = {name: reason for row in rows for name, reason in row["missing"].items()}
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    for name, module in rivals.NOT_ADAPTED.items():
        try:
            rivals.need(module)
            print(f"{name}: installed, but there is no adapter for it here")
        except rivals.Missing as reason:
            print(f"{name}: missing: {reason}; there is no adapter for it here either")
    ratios = [ratio for ratio in ratios if ratio == ratio]
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"moec against the best rival: geometric mean {mean:.2f}x over {len(ratios)} cells, "
              f"{sum(ratio < 1 for ratio in ratios)} behind, worst {min(ratios):.2f}x")
    if options.json:
        document = {"schema": "moec.peers", "schema_version": 1, "device": torch.cuda.get_device_name(), "torch": torch.__version__,
                    "rows": rows, "missing": missing}
        pathlib.Path(options.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
