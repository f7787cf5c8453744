"""The side that touches the GPU: reads a job on stdin, writes an event a line on stdout (crew.py says why).

A job is {"do": "look", "rivals": [...]} or {"do": "measure", "rivals": [...], "layer": [H, I, E, K], "repeats": N,
"cells": [{"key": ..., "path": of the ids, "tokens": T, "done": [...]}, ...]}. Weights and tokens come from the same seeds in
every worker.
"""

import dataclasses
import json
import os
import statistics
import sys

import rivals
from rivals import contest
from rivals.protocol import Problem


class Layer:
    """Weights of one shape, as transformers keeps them: w13 [E, 2I, H] (gate, then up) and w2 [E, H, I]."""

    def __init__(self, sizes):
        import torch

        self.hidden, self.intermediate, self.experts, self.top_k = sizes
        torch.manual_seed(1)
        make = lambda *size: torch.randn(*size, device="cuda", dtype=torch.bfloat16) * 0.02
        self.w13 = make(self.experts, 2 * self.intermediate, self.hidden)
        self.w2 = make(self.experts, self.hidden, self.intermediate)

    def expected(self, x, ids, weights):
        """All tokens, in float32."""
        import torch

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
        import torch

        self.torch, self.ids, self.repeats = torch, ids, repeats
        torch.manual_seed(2)
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
        torch = self.torch
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
        torch, times = self.torch, []
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
    for rival in rivals.named(job["rivals"]):
        emit(begin=rival.name)
        reason = rival.available()
        emit(rival=rival.name, missing=reason, version=None if reason else rival.version())


def measure(job, emit):
    import numpy
    import torch

    torch.set_grad_enabled(False)
    layer = Layer(job["layer"])
    here = rivals.named(job["rivals"])
    built = {}
    for rival in here:
        emit(begin=rival.name)
        built[rival.name] = contest.build(rival, layer, Bench)
    for cell in job["cells"]:
        left = [rival for rival in here if rival.name not in cell["done"]]
        emit(begin=None)
        ids = torch.from_numpy(numpy.fromfile(cell["path"], dtype=numpy.int32)).cuda().view(-1, cell["tokens"], layer.top_k)
        bench = Bench(layer, ids, job["repeats"])
        for rival in left:
            emit(begin=rival.name)
            variants, reason = built[rival.name]
            entry, reasons = (None, [reason]) if reason else contest.contest(variants, bench.problem, bench)
            emit(rival=rival.name, key=cell["key"], entry=entry and dataclasses.asdict(entry), failed=reasons)
        emit(key=cell["key"])  # nobody is left to measure it


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
