#!/usr/bin/env python3
"""moec beside other MoE layers, on the same inputs, in one run on one GPU.

    tools/bench/peers.py --moec build/release/bin/moec-bench-gpu --bundle BUNDLE [--tokens 1,16,...] [--skews 0,1.2]
                         [--shapes olmoe,...] [--rivals torch,...] [--kernels PART,...] [--repeats 11] [--rest-ms 50]
                         [--e4m3] [--json FILE]
    tools/bench/peers.py --list [--e4m3]

`moec-bench-gpu build --bundle BUNDLE` makes the kernels, anywhere. Per shape, moec runs first and leaves its inputs (hidden states,
experts' weights, ids and routing weights, bit for bit) and its outputs; then each rival that this Python has runs on them; then
moec's best kernels once more. A missing rival is a line that says so; so is one that fails or crashes, and the others run on.
--list says which rivals are here; it needs no GPU.

A layer is dispatch, both products, activation and combine, in bf16; with --e4m3 tokens in and out are bf16 and weights e4m3 with a
scale for each block of 128 by 128, as in DeepSeek-V3's checkpoints, and the layer quantises its rows, a scale for each 128. Times
are medians over replays of a CUDA graph that holds as many layers as there are routings (different routings in turn, so that a
replay reads more weights than the cache holds), after a rest and a replay that does not count, for moec and rivals alike. A rival
that no graph can hold is timed on a stream, with its launches, and has a star.

Beside each time is the output's error against float32 on the same inputs: relative L2 of the worst token, in thousandths. More than
10 is more than bf16 explains: such a variant is not timed, and where all of a rival's are wrong its cell says so. With --e4m3 the
float32 layer has the dequantised weights but takes tokens and activations as they are: quantising them costs 40 to 60 thousandths by
itself, moec and rivals alike, and more than 70 is wrong.

moec has two times, before all rivals and after them; the slower one counts, and a line with an exclamation mark has two that differ
by more than 5 %: order or heat decides there, so ask turns.py. After moec's kernels a line has the variant that each rival's time is
of (in JSON "variant"). Finished cells are also said on stderr, before moec's second time is known.
"""

import argparse
import glob
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rivals  # noqa: E402
from rivals import crew, table  # noqa: E402
from rivals.provenance import provenance  # noqa: E402

SHAPES = {  # hidden, intermediate, experts, top-k
    "olmoe": (2048, 1024, 64, 8),
    "qwen3-30b": (2048, 768, 128, 8),
    "mixtral": (4096, 14336, 8, 2),
    "dsv3-slice": (7168, 2048, 32, 1),
}
# In a process that finds what this one finds.
WORKER = [sys.executable, *["-I"] * sys.flags.isolated, *["-S"] * sys.flags.no_site, "-c",
          f"import sys; sys.path[:] = {sys.path!r}; from rivals import worker; worker.main()"]


class Present:
    """Which of the wanted rivals this Python has; their versions; and for each other one the line that says why not."""

    def __init__(self, wanted, weights):
        some, bounds = rivals.of(weights)
        names = [rival.name for rival in some if not wanted or rival.name in wanted]
        names += [bound.name for bound in bounds if bound.name.split(",")[0] in names]
        self.job = {"do": "look", "weights": weights}
        self.versions, self.missing, self.torch, self.device, self.why = {}, {}, "", "", ""
        self.missing |= crew.work(WORKER, self.job, names, self.take)
        for bound in bounds:  # its rival's line says it
            self.missing.pop(bound.name, None)

    def take(self, event):
        if "rival" not in event:
            self.torch, self.device, self.why = event["torch"], event["device"], event.get("why", "")
        elif event["missing"]:
            self.missing[event["rival"]] = event["missing"]
        else:
            self.versions[event["rival"]] = event["version"]
        return self.job


def run_moec(options, shape, folder, kernels=()):
    """Times of moec's kernels, all or those named: {(tokens, skew): {kernels: row}}. All: leaves inputs and outputs in `folder`."""
    out = folder / f"{shape}.jsonl"
    out.unlink(missing_ok=True)  # it is appended to
    measure = ["measure-fp8", "--alone"] if options.weights == "e4m3" else ["measure"]
    command = [options.moec, *measure, "--bundle", options.bundle, "--shapes", shape, "--tokens", options.tokens, "--skews",
               options.skews, "--repeats", str(options.repeats), "--rest-ms", str(options.rest_ms), "--overlap", "--json", str(out)]
    command += ["--every-choice"] if kernels else ["--inputs", str(folder)]
    wanted = ",".join(f"={name}" for name in sorted(kernels)) or options.kernels
    command += ["--kernels", wanted] if wanted else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    rows = {}
    for line in out.read_text().splitlines():
        row = json.loads(line)
        rows.setdefault((row["tokens"], row["skew"]), {})[row["kernels"]] = row
    return rows


def problems(shape, folder):
    """(tokens, skew, path of the problem's files without their endings), in order."""
    for path in sorted(glob.glob(f"{folder}/{shape}-*.i32"), key=lambda p: int(p.rsplit("-", 2)[1])):
        tokens, skew = os.path.basename(path)[len(shape) + 1 : -len(".i32")].rsplit("-", 1)
        yield int(tokens), float(skew), path[: -len(".i32")]


def at(rows, tokens, skew):
    """What run_moec() has for a problem."""
    return next(found for key, found in rows.items() if key[0] == tokens and abs(key[1] - skew) < 1e-6)


class Comparison:
    """One shape's rows, filled in by the workers' events."""

    def __init__(self, options, shape, folder, names):
        self.options, self.shape, self.folder, self.names, self.rows, self.cells = options, shape, folder, names, [], {}
        ours = run_moec(options, shape, folder)
        for tokens, skew, path in problems(shape, folder):
            mine = min(at(ours, tokens, skew).values(), key=lambda row: row["us"])
            self.cells[len(self.rows)] = {"key": len(self.rows), "path": path, "tokens": tokens, "done": []}
            self.rows.append({"shape": shape, "weights": options.weights, "tokens": tokens, "skew": skew, "moec_us": mine["us"],
                              "moec_before_us": mine["us"], "moec_after_us": None, "moec_error": None, "kernels": mine["kernels"],
                              "floor_us": mine["floor_us"], "rivals": {}, "bounds": {}, "wrong": {}, "failed": {}})

    def job(self):
        return {"do": "measure", "weights": self.options.weights, "layer": SHAPES[self.shape], "folder": str(self.folder),
                "repeats": self.options.repeats, "rest_ms": self.options.rest_ms, "cells": list(self.cells.values())}

    def take(self, event):
        key = event["key"]
        row = self.rows[key]
        if "rival" in event:
            name = event["rival"]
            if event["entry"]:
                _, bounds = rivals.of(self.options.weights)
                row["bounds" if name in {bound.name for bound in bounds} else "rivals"][name] = event["entry"]
            if event["wrong"] is not None:
                row["wrong"][name] = event["wrong"]
            if event["failed"]:
                row["failed"][name] = event["failed"]
            self.cells[key]["done"].append(name)
        elif "moec_error" in event:
            row["moec_error"] = event["moec_error"]
        else:
            print(table.line(row, self.names), file=sys.stderr, flush=True)
            del self.cells[key]
        return self.job()

    def time_moec_again(self):
        again = run_moec(self.options, self.shape, self.folder, {row["kernels"] for row in self.rows})
        for row in self.rows:
            row["moec_after_us"] = at(again, row["tokens"], row["skew"])[row["kernels"]]["us"]
            row["moec_us"] = max(row["moec_before_us"], row["moec_after_us"])

    def run(self, names):
        """{rival: why it was struck off}"""
        struck = {}
        try:
            struck = crew.work(WORKER, self.job(), names, self.take)
        except RuntimeError as error:
            print(f"{self.shape}: {error}; no more of it is measured")
        self.time_moec_again()
        for row in self.rows:
            print(table.line(row, self.names), flush=True)
        return struck


def measure(options, present):
    """(All rows, each printed when it is done; {rival: why it is not in them}.) The document is whole after each shape."""
    rows, struck, names, origin = [], {}, list(present.versions), provenance(options.moec)
    print(", ".join(f"{what} {value or 'unknown'}" for what, value in origin.items()))
    print(table.heading(names), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes.split(","):
            comparison = Comparison(options, shape, pathlib.Path(folder), names)
            struck |= comparison.run([name for name in names if name not in struck])
            rows += comparison.rows
            if options.json:
                document = {"schema": "moec.peers", "schema_version": 4, **origin, "device": present.device, "torch": present.torch,
                            "weights": options.weights, "versions": present.versions, "rows": rows, "missing": present.missing | struck}
                pathlib.Path(options.json).write_text(json.dumps(document, indent=1))
    return rows, present.missing | struck


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moec", default="build/release/bin/moec-bench-gpu", help="moec-bench-gpu")
    parser.add_argument("--bundle", help="folder that `moec-bench-gpu build` wrote")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--tokens", default="1,16,64,256,1024,4096,16384")
    parser.add_argument("--skews", default="0,1.2", help="Zipf exponents; 0 is uniform")
    parser.add_argument("--rivals", help="only these, by the names that --list prints")
    parser.add_argument("--kernels", help="parts of the names of moec's tile classes to choose from; all")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--rest-ms", type=int, default=50, help="before each timing, moec's and rivals', for the card to cool")
    parser.add_argument("--e4m3", dest="weights", action="store_const", const="e4m3", default="bf16",
                        help="layers of e4m3 weights with a scale for each block of 128 by 128")
    parser.add_argument("--json", help="write everything as one JSON object")
    parser.add_argument("--list", action="store_true", help="say which rivals are here, and end")
    options = parser.parse_args()
    wanted = options.rivals.split(",") if options.rivals else []
    known = {rival.name: rival.known for rival in rivals.of(options.weights)[0]}
    if set(wanted) - set(known):
        parser.error(f"no rival {', '.join(sorted(set(wanted) - set(known)))}; there are {', '.join(known)}")
    if not options.bundle and not options.list:
        parser.error("--bundle is needed: the folder that `moec-bench-gpu build --bundle FOLDER` wrote")
    present = Present(wanted, options.weights)
    if options.list:
        for name, version in present.versions.items():
            if name in known:
                print(f"{name}: {version} (the adapter knows {known[name]})")
        for note in table.notes([], present.missing):
            print(note)
        return
    if not present.torch:
        raise SystemExit(f"peers: no torch, so no inputs for anybody: {present.why}")
    if not present.device:
        raise SystemExit("peers: this torch sees no GPU")
    print(f"{present.device}; microseconds of a layer, {options.weights}{' weights' if options.weights == 'e4m3' else ''}")
    print("rivals: " + ", ".join(f"{name} {version}" for name, version in present.versions.items() if name in known))
    rows, missing = measure(options, present)
    print(*table.notes(rows, missing), table.summary(rows), sep="\n")


if __name__ == "__main__":
    main()
