#!/usr/bin/env python3
"""Times PyTorch's ways to run a MoE layer on the routing that `moec-bench-cpu library --routing-out FILE` left behind.

    peers.py FILE [--repeats N] [--format text|json]

Two of them, with the threads that moec had: a loop over experts (index_select, linear, SiLU and multiply, linear,
index_add), and torch._grouped_mm over sorted rows where this PyTorch has it for CPUs. Weights are random and as stored,
which is how PyTorch takes them. Another process than moec's: compare with care, the machine may have changed between.
Without PyTorch this says so and ends well.
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
except ImportError:
    torch = None


class Layer:
    def __init__(self, shape):
        self.dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[shape["dtype"]]
        experts, hidden, inter = shape["experts"], shape["hidden"], shape["intermediate"]
        self.experts, self.top_k, self.inter = experts, shape["top_k"], inter
        torch.manual_seed(1)
        self.gate_up = torch.empty(experts, 2 * inter, hidden, dtype=self.dtype).normal_(0, 0.02)
        self.down = torch.empty(experts, hidden, inter, dtype=self.dtype).normal_(0, 0.02)

    def sort(self, ids):
        flat = ids.flatten()
        order = flat.argsort(stable=True)
        return order // self.top_k, torch.bincount(flat, minlength=self.experts)

    def act(self, both):
        return torch.nn.functional.silu(both[:, : self.inter]) * both[:, self.inter :]

    def loop(self, x, ids):
        tokens, counts = self.sort(ids)
        out = torch.zeros_like(x)
        begin = 0
        for expert, count in enumerate(counts.tolist()):
            if count:
                of = tokens[begin : begin + count]
                rows = torch.nn.functional.linear(self.act(torch.nn.functional.linear(x[of], self.gate_up[expert])), self.down[expert])
                out.index_add_(0, of, rows / self.top_k)
                begin += count
        return out

    def grouped(self, x, ids):
        tokens, counts = self.sort(ids)
        ends = counts.cumsum(0).to(torch.int32)
        rows = torch._grouped_mm(x[tokens], self.gate_up.transpose(1, 2), offs=ends)
        rows = torch._grouped_mm(self.act(rows), self.down.transpose(1, 2), offs=ends)
        return torch.zeros_like(x).index_add_(0, tokens, rows / self.top_k)


def block(run, steps, seconds=0.3):
    """The mean over the steps of the median milliseconds of each; one turn is not counted."""
    times = [[] for _ in steps]
    run(*steps[0])
    spent = 0
    while spent < seconds or not times[0]:
        for index, step in enumerate(steps):
            start = time.perf_counter()
            run(*step)
            times[index].append(time.perf_counter() - start)
            spent += times[index][-1]
    return statistics.mean(map(statistics.median, times)) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    options = parser.parse_args()
    if torch is None:
        print("peers.py: no PyTorch here; its rows are left out", file=sys.stderr)
        return
    with open(options.file) as file:
        shape = json.load(file)
    torch.set_num_threads(shape["threads"])
    layer, rows = Layer(shape), []
    with torch.inference_mode():
        for tokens in sorted({step["tokens"] for step in shape["steps"]}):
            x = torch.randn(tokens, shape["hidden"]).to(layer.dtype)
            steps = [(x, torch.tensor(step["ids"]).view(tokens, -1)) for step in shape["steps"] if step["tokens"] == tokens]
            ways = {"loop": layer.loop}
            try:
                expected, found = layer.loop(*steps[0]), layer.grouped(*steps[0])
                if ((expected - found).float().norm() / expected.float().norm()).item() > 1e-2:
                    sys.exit("peers.py: loop and _grouped_mm differ")
                ways["grouped_mm"] = layer.grouped
            except (AttributeError, NotImplementedError, RuntimeError) as error:
                print(f"peers.py: torch._grouped_mm cannot be used here: {str(error).splitlines()[0]}", file=sys.stderr)
            times = {name: [] for name in ways}
            for repeat in range(options.repeats):
                for name in list(ways)[:: 1 if repeat % 2 else -1]:
                    times[name].append(block(ways[name], steps))
            rows.append({"tokens": tokens} | {f"{name}_ms": statistics.median(values) for name, values in times.items()})
    if options.format == "json":
        print(json.dumps({"schema": "moec.bench-cpu-peers", "schema_version": 1, "torch": torch.__version__, "rows": rows}))
        return
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, medians of {options.repeats} repeats")
    for row in rows:
        print("  ".join(f"{name} {value:.3f}" if name != "tokens" else f"{value:>5} tokens" for name, value in row.items()))


if __name__ == "__main__":
    main()
