"""The side that touches the GPU: reads a job on stdin, writes an event a line on stdout (crew.py says why).

A job is {"do": "look", "weights": "bf16" or "e4m3", "rivals": [...]} or {"do": "measure", "weights": ..., "rivals": [...],
"layer": [H, I, E, K], "folder": of the inputs, "repeats": N, "rest_ms": before each timing,
"cells": [{"key": ..., "path": of the problem, "tokens": T, "done": [...]}, ...]}.
"""

import dataclasses
import json
import os
import statistics
import sys
import time

import rivals
from rivals import contest
from rivals.protocol import Problem


class Bench:
    """One problem's inputs; checks and times a rival's variants on them."""

    def __init__(self, layer, cell, repeats, rest):
        import torch
        from rivals import inputs

        self.torch, self.repeats, self.rest, self.error = torch, repeats, rest, inputs.error
        self.inputs = inputs.Inputs(layer, cell["path"], cell["tokens"])
        self.x, self.ids, self.weights = self.inputs.x, self.inputs.ids, self.inputs.weights
        self.expected = layer.expected(self.x[0], self.ids[0], self.weights[0])
        self.problem = Problem(tokens=cell["tokens"], rows=self.ids[0].numel() / len(torch.unique(self.ids[0])))

    def error_of(self, variant):
        prepared = variant.prepare(self.ids[0], self.weights[0])
        return self.error(variant.run(self.x[0], self.ids[0], self.weights[0], prepared), self.expected)

    def error_of_moec(self):
        """None where it left no output."""
        output = self.inputs.moec_output()
        return None if output is None else self.error(output, self.expected)

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
        torch = self.torch
        with torch.cuda.stream(torch.cuda.Stream()):
            queue()  # compiles and warms up
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            queue()
        return self.median(graph.replay)

    def time_stream(self, queue):
        queue()
        return self.median(queue)

    def median(self, run):
        """As moec-bench-gpu does it: a rest, one that does not count, then all that do."""
        torch, times = self.torch, []
        torch.cuda.synchronize()
        time.sleep(self.rest)
        run()
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
        import torch

        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            raise contest.DeviceLost(str(error).splitlines()[0]) from None
        torch.cuda.empty_cache()


def look(job, emit):
    """Which rivals are here."""
    try:
        import torch

        emit(torch=torch.__version__, device=torch.cuda.get_device_name() if torch.cuda.is_available() else "")
    except ImportError as error:
        emit(torch="", device="", why=str(error))
    for rival in rivals.named(job["rivals"], job["weights"]):
        emit(begin=rival.name)
        reason = rival.available()
        emit(rival=rival.name, missing=reason, version=None if reason else rival.version())


def measure(job, emit):
    import torch
    from rivals.inputs import LAYERS

    torch.set_grad_enabled(False)
    layer = LAYERS[job["weights"]](job["layer"], job["folder"])
    here = rivals.named(job["rivals"], job["weights"])
    built = {}
    for rival in here:
        emit(begin=rival.name)
        built[rival.name] = contest.build(rival, layer, Bench)
    for cell in job["cells"]:
        left = [rival for rival in here if rival.name not in cell["done"]]
        emit(begin=None)
        bench = Bench(layer, cell, job["repeats"], job["rest_ms"] / 1000)
        emit(key=cell["key"], moec_error=bench.error_of_moec())
        for rival in left:
            emit(begin=rival.name)
            variants, reason = built[rival.name]
            entry, wrong, reasons = (None, None, [reason])
            if not reason:
                entry, wrong, reasons = contest.contest(variants, bench.problem, bench, job["weights"])
            emit(rival=rival.name, key=cell["key"], entry=entry and dataclasses.asdict(entry), wrong=wrong, failed=reasons)
        emit(key=cell["key"], done=True)


def main():
    job = json.load(sys.stdin)
    # What rivals print goes to stderr, whether from Python or from C.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def emit(**event):
        print(json.dumps(event), file=out, flush=True)

    try:
        {"look": look, "measure": measure}[job["do"]](job, emit)
    except contest.DeviceLost as lost:
        emit(lost=str(lost))
        os._exit(3)  # not through destructors that would call the GPU


if __name__ == "__main__":
    main()
