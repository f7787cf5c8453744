#!/usr/bin/env python3
"""moec beside other MoE layers, on the same routings, in one run on one GPU.

    tools/bench/peers.py --moec build/release/bin/moec-bench-gpu --bundle BUNDLE [--tokens 1,16,...] [--skews 0,1.2]
                         [--shapes olmoe,...] [--rivals torch,...] [--repeats 11] [--json FILE]
    tools/bench/peers.py --list

`moec-bench-gpu build --bundle BUNDLE` makes the kernels, anywhere. Per shape, moec runs first and leaves its routings; then each
rival that this Python has runs on them, every variant held against float32 before it is timed. A missing rival is a line that
says so; so is one that is wrong, or that fails, and the others run on. --list says which rivals are here, without a GPU or moec.

A layer is dispatch, both products, activation and combine, in bf16. Times are medians over replays of a CUDA graph that holds as
many layers as there are routings (different routings in turn, so that a replay reads more weights than the cache holds). A rival
that no graph can hold is timed on a stream, with its launches, and has a star.
"""

import argparse
import dataclasses
import glob
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rivals  # noqa: E402
from rivals import contest, table  # noqa: E402
from rivals.protocol import Problem  # noqa: E402

try:
    import numpy
    import torch
except ImportError as error:
    numpy = torch = None
    no_torch = str(error)

SHAPES = {  # hidden, intermediate, experts, top-k
    "olmoe": (2048, 1024, 64, 8),
    "qwen3-30b": (2048, 768, 128, 8),
    "mixtral": (4096, 14336, 8, 2),
    "dsv3-slice": (7168, 2048, 32, 1),
}


class Layer:
    """Weights of one shape, as transformers keeps them: w13 [E, 2I, H] (gate, then up) and w2 [E, H, I]."""

    def __init__(self, shape):
        self.hidden, self.intermediate, self.experts, self.top_k = SHAPES[shape]
        make = lambda *size: torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02
        self.w13 = make(self.experts, 2 * self.intermediate, self.hidden)
        self.w2 = make(self.experts, self.hidden, self.intermediate)

    def expected(self, x, ids, weights):
        """All tokens, in float32."""
        out = torch.zeros(x.shape, device="cuda", dtype=torch.float32)
        for expert in range(self.experts):
            token, k = (ids == expert).nonzero(as_tuple=True)
            if len(token):
                gate, up = (x[token].float() @ self.w13[expert].float().T).chunk(2, -1)
                act = torch.nn.functional.silu(gate) * up
                out.index_add_(0, token, act @ self.w2[expert].float().T * weights[token, k, None])
        return out


class Bench:
    """One problem's inputs; checks and times a rival's variants on them."""

    def __init__(self, layer, ids, repeats):
        self.ids, self.repeats = ids, repeats
        self.x = torch.randn(*ids.shape[:2], layer.hidden, device="cuda", dtype=torch.bfloat16)
        self.weights = torch.rand(ids.shape, device="cuda") + 0.1
        self.weights /= self.weights.sum(-1, keepdim=True)
        self.expected = layer.expected(self.x[0], ids[0], self.weights[0])
        self.problem = Problem(tokens=ids.shape[1], rows=ids[0].numel() / len(torch.unique(ids[0])))

    def error_of(self, variant):
        got = variant.run(self.x[0], self.ids[0], self.weights[0], variant.prepare(self.ids[0], self.weights[0])).float()
        if got.shape != self.expected.shape:
            raise ValueError(f"returns {tuple(got.shape)}, not {tuple(self.expected.shape)}")
        # Of the worst token: a wrong one among thousands would not show in the norm of them all.
        return ((got - self.expected).norm(dim=1) / self.expected.norm(dim=1)).max().item()

    def time(self, variant):
        """(median microseconds of a layer, how they were taken)"""
        prepared = [variant.prepare(ids, weights) for ids, weights in zip(self.ids, self.weights)]
        queue = lambda: [variant.run(*inputs) for inputs in zip(self.x, self.ids, self.weights, prepared)]
        if variant.captures:
            try:
                return self.time_graph(queue), "graph"
            except RuntimeError:
                self.recover()
        return self.time_stream(queue), "stream"

    def time_graph(self, queue):
        with torch.cuda.stream(torch.cuda.Stream()):
            queue()  # compiles and warms up
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            queue()
        graph.replay()
        return self.median(graph.replay)

    def time_stream(self, queue):
        queue()
        return self.median(queue)

    def median(self, run):
        times = []
        for _ in range(self.repeats):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) * 1000 / len(self.ids))
        return statistics.median(times)

    @staticmethod
    def recover():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            raise contest.DeviceLost(str(error).splitlines()[0]) from None
        torch.cuda.empty_cache()


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


def compare(options, shape, folder, here):
    """A row for each problem of a shape, with what each rival that is here makes of it."""
    ours = run_moec(options, shape, folder)
    layer = Layer(shape)
    variants = {rival.name: contest.build(rival, layer, Bench) for rival in here}
    for path in sorted(glob.glob(f"{folder}/{shape}-*.i32"), key=lambda p: int(p.rsplit("-", 2)[1])):
        tokens, skew = os.path.basename(path)[len(shape) + 1 : -len(".i32")].rsplit("-", 1)
        tokens, skew = int(tokens), float(skew)
        ids = torch.from_numpy(numpy.fromfile(path, dtype=numpy.int32)).cuda().view(-1, tokens, layer.top_k)
        bench = Bench(layer, ids, options.repeats)
        mine = next(row for key, row in ours.items() if key[0] == tokens and abs(key[1] - skew) < 1e-6)
        row = {"shape": shape, "tokens": tokens, "skew": skew, "moec_us": mine["us"], "kernels": mine["kernels"],
               "floor_us": mine["floor_us"], "rivals": {}, "bounds": {}, "failed": {}}
        yield row  # before the rivals run, so that what was measured is there even if one takes the GPU down
        for rival in here:
            built, reason = variants[rival.name]
            try:
                entry, reasons = (None, [reason]) if reason else contest.contest(built, bench.problem, bench)
            except contest.DeviceLost as lost:
                row["failed"][rival.name] = [f"took the GPU's context with it, so nothing after it was measured: {lost}"]
                raise
            if entry:
                row["bounds" if rival in rivals.BOUNDS else "rivals"][rival.name] = dataclasses.asdict(entry)
            if reasons:
                row["failed"][rival.name] = reasons


def measure(options, here):
    """All rows; prints each when it is done. Ends early, with what there is, where a rival takes the GPU's context with it."""
    rows, names = [], [rival.name for rival in here]
    print(table.heading(names))
    with tempfile.TemporaryDirectory() as folder:
        try:
            for shape in options.shapes.split(","):
                for row in compare(options, shape, pathlib.Path(folder), here):
                    if rows:
                        print(table.line(rows[-1], names), flush=True)
                    rows.append(row)
                torch.cuda.empty_cache()
        except contest.DeviceLost:
            pass
    if rows:
        print(table.line(rows[-1], names), flush=True)
    return rows


def choose(wanted):
    """(The rivals that are here, {name: version}, {name: the line that says why it is not}), of those wanted."""
    here, versions, missing = [], {}, {}
    for rival in rivals.RIVALS + rivals.BOUNDS:
        if wanted and rival.name not in wanted and not (rival in rivals.BOUNDS and rival.name.split(",")[0] in wanted):
            continue
        reason = rival.available()
        if reason:
            missing[rival.name] = reason
        else:
            here.append(rival)
            versions[rival.name] = rival.version()
    for bound in rivals.BOUNDS:  # its rival's line says it
        missing.pop(bound.name, None)
    return here, versions, missing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moec", default="build/release/bin/moec-bench-gpu", help="moec-bench-gpu")
    parser.add_argument("--bundle", help="folder that `moec-bench-gpu build` wrote")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--tokens", default="1,16,64,256,1024,4096,16384")
    parser.add_argument("--skews", default="0,1.2", help="Zipf exponents; 0 is uniform")
    parser.add_argument("--rivals", help="only these, by the names that --list prints")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", help="write everything as one JSON object")
    parser.add_argument("--list", action="store_true", help="say which rivals are here, and end")
    options = parser.parse_args()
    wanted = options.rivals.split(",") if options.rivals else []
    unknown = set(wanted) - {rival.name for rival in rivals.RIVALS}
    if unknown:
        parser.error(f"no rival {', '.join(sorted(unknown))}; there are {', '.join(rival.name for rival in rivals.RIVALS)}")
    if options.list:
        here, versions, missing = choose(wanted)
        for rival in here:
            print(f"{rival.name}: {versions[rival.name]} (the adapter knows {rival.known})")
        for line in table.notes([], missing):
            print(line)
        return
    if not options.bundle:
        parser.error("--bundle is needed: the folder that `moec-bench-gpu build --bundle FOLDER` wrote")
    if torch is None:
        raise SystemExit(f"peers: no torch, so no inputs for anybody: {no_torch}")
    if not torch.cuda.is_available():
        raise SystemExit("peers: this torch sees no GPU")
    torch.set_grad_enabled(False)
    here, versions, missing = choose(wanted)
    print(f"{torch.cuda.get_device_name()}; microseconds of a layer, bf16")
    print("rivals: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    rows = measure(options, here)
    for line in [*table.notes(rows, missing), table.summary(rows)]:
        print(line)
    if options.json:
        document = {"schema": "moec.peers", "schema_version": 2, "device": torch.cuda.get_device_name(), "torch": torch.__version__,
                    "versions": versions, "rows": rows, "missing": missing}
        pathlib.Path(options.json).write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
