#!/usr/bin/env python3
"""What placements of `moec place` are worth: each device's part of the same steps, one after the other on one device.

    tools/bench/place.py --moec build/release/bin/moec --model tests/golden/configs/olmoe-1b-7b [--device cuda:0] [--tokens 256]
                         [--devices 8] [--slots N] [--topics 4] [--steps 48] [--json FILE] [--trace FILE]

Routing is made up: a step mixes `topics`, each of which prefers experts of its own (zipf), and draws each token's experts from that
mixture, so experts of one topic are busy together. A loop records some steps into a decision trace; `moec place` plans from it, by each of
its methods; then steps that it has not seen are timed. A device's part is the layer with all other experts' pairs left out (ids of -1), so
what is timed has no exchange; a step takes as long as its slowest device. On a GPU a step is a CUDA graph's replay, timed by events, and
torch is needed; on a CPU the host's clock and nothing else. Methods take turns within each step.
"""

import argparse
import array
import json
import math
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import moec  # noqa: E402

METHODS = ("number", "greedy", "even", "place")


class Routing:
    """Steps that mix topics. `draw(logs, tokens, top_k)`: each token's experts, those of the largest log p + Gumbel: a draw without replacement."""

    def __init__(self, layer, tokens, topics, skew, seed, draw):
        self.random, self.layer, self.tokens, self.draw = random.Random(seed), layer, tokens, draw
        self.topics = []
        for _ in range(topics):
            weights = [1 / (rank + 1) ** skew for rank in range(layer.experts)]
            self.random.shuffle(weights)
            self.topics.append([weight / sum(weights) for weight in weights])

    def step(self):
        """[tokens * K] expert ids."""
        shares = [self.random.gammavariate(0.5, 1) + 1e-9 for _ in self.topics]
        mixed = [sum(share * topic[expert] for share, topic in zip(shares, self.topics)) for expert in range(self.layer.experts)]
        return self.draw([math.log(weight) for weight in mixed], self.tokens, self.layer.top_k)


def draw_plainly(logs, tokens, top_k):
    ids = array.array("i")
    for _ in range(tokens):
        keys = [log - math.log(random.expovariate(1)) for log in logs]
        ids.extend(sorted(range(len(keys)), key=keys.__getitem__, reverse=True)[:top_k])
    return ids


def draw_by_torch(logs, tokens, top_k):
    import torch

    logs = torch.tensor(logs)
    return array.array("i", (logs - torch.empty(tokens, len(logs)).exponential_().log()).topk(top_k).indices.flatten().tolist())


class OnCpu:
    """The layer on this machine's CPU."""

    repeats, draw = 3, staticmethod(draw_plainly)

    def __init__(self, session, layer, tokens):
        self.session, self.layer, self.tokens = session, layer, tokens
        code = "f" if layer.dtype == "float32" else "H"
        rows = array.array("f", (random.gauss(0, 1) for _ in range(layer.hidden)))
        row = rows if code == "f" else array.array("H", (bits >> 16 for bits in array.array("I", rows.tobytes())))
        self.hidden, self.output = array.array(code, row.tobytes() * tokens), array.array(code, bytes(row.itemsize * layer.hidden * tokens))
        self.weights = array.array("f", [1 / layer.top_k]) * (tokens * layer.top_k)

    def forward(self, ids):
        with self.session.step(self.tokens) as step:
            step.forward(self.layer.number, self.hidden, self.output, ids=ids, weights=self.weights)

    def time(self, ids):
        """Microseconds."""
        begin = time.perf_counter()
        self.forward(ids)
        return (time.perf_counter() - begin) * 1e6

    def finish(self):
        pass


class OnGpu:
    """The layer on a GPU, in a graph that reads its ids anew each time."""

    repeats, draw = 5, staticmethod(draw_by_torch)

    def __init__(self, session, layer, tokens, device):
        import torch

        self.torch, self.session, self.layer, self.tokens = torch, session, layer, tokens
        torch.cuda.set_device(device)
        dtype = getattr(torch, layer.dtype)
        torch.manual_seed(random.getrandbits(32))
        self.hidden = torch.randn(tokens, layer.hidden, device=device, dtype=dtype)
        self.output = torch.empty_like(self.hidden)
        self.ids = torch.zeros(tokens, layer.top_k, device=device, dtype=torch.int32)
        self.weights = torch.full((tokens, layer.top_k), 1 / layer.top_k, device=device)
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self.graph = None

    def _forward(self):
        with self.session.step(self.tokens, stream=self.torch.cuda.current_stream().cuda_stream) as step:
            step.forward(self.layer.number, self.hidden, self.output, ids=self.ids, weights=self.weights)

    def _take(self, ids):
        self.ids.copy_(self.torch.tensor(ids, dtype=self.torch.int32).reshape(self.tokens, -1))

    def forward(self, ids):
        self._take(ids)
        self._forward()
        self.torch.cuda.synchronize()

    def time(self, ids):
        """Microseconds of the layer's kernels."""
        if self.graph is None:
            self.graph = self.torch.cuda.CUDAGraph()
            with self.torch.cuda.graph(self.graph):
                self._forward()
        self._take(ids)
        self.torch.cuda.synchronize()
        self.events[0].record()
        self.graph.replay()
        self.events[1].record()
        self.torch.cuda.synchronize()
        return self.events[0].elapsed_time(self.events[1]) * 1e3

    def finish(self):
        self.graph = None  # before its session


def parts_of(ids, placement):
    """The ids of each device; -1 for pairs of others. An expert's copies take its pairs in turns, its (e modulo copies)-th the first."""
    homes = [[] for _ in range(placement["experts"])]
    for device, experts in enumerate(placement["devices"]):
        for expert in experts:
            homes[expert].append(device)
    parts = [array.array("i", [-1]) * len(ids) for _ in placement["devices"]]
    seen = list(range(len(homes)))
    for pair, expert in enumerate(ids):
        parts[homes[expert][seen[expert] % len(homes[expert])]][pair] = expert
        seen[expert] += 1
    return parts


def record(options, session, runner, routing, trace):
    session.start_loop(manual=True, window_steps=4, trace=trace)  # of four steps a window keeps all four
    for _ in range(options.steps):
        runner.forward(routing.step())
        time.sleep(0.002)  # counts are drained meanwhile
    session.finish()
    time.sleep(0.5)
    session.stop_loop()


def place(options, trace, folder):
    """({method: the layer's placement, from all recorded steps}, {method: what the planner says of the recorded second half})."""
    placements, predicted = {}, {}
    slots = ["--slots", str(options.slots)] if options.slots else []
    for method in METHODS:
        written = pathlib.Path(folder) / f"{method}.json"
        command = [options.moec, "place", "--trace", trace, "--devices", str(options.devices), *slots, "--method", method, "-o", written,
                   "--format=json"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        predicted = {row["kind"]: row for row in report["placements"]}
        placements[method] = json.loads(written.read_text())["layers"][0]
    return placements, predicted


def measure(options, runner, routing, placements):
    """{method: [(microseconds of each device) of each step]}"""
    times = {method: [] for method in METHODS}
    for number in range(options.judged):
        ids = routing.step()
        parts = {method: parts_of(ids, placements[method]) for method in METHODS}
        samples = {method: [[] for _ in range(options.devices)] for method in METHODS}
        for repeat in range(runner.repeats):
            for device in range(options.devices):  # all others' weights pass through the caches between two turns of one
                for turn in range(len(METHODS)):
                    method = METHODS[(turn + number + repeat) % len(METHODS)]
                    samples[method][device].append(runner.time(parts[method][device]))
        for method in METHODS:
            times[method].append([statistics.median(of_device) for of_device in samples[method]])
    return times


def rows_of(times, predicted):
    rows = []
    for method in METHODS:
        slowest, mean = statistics.mean(map(max, times[method])), statistics.mean(map(statistics.mean, times[method]))
        against = [max(mine) / max(other) for mine, other in zip(times[method], times["place"])]
        spread = 1.96 * statistics.stdev(against) / math.sqrt(len(against)) if len(against) > 1 else 0
        rows.append({"method": method, "predicted_us": predicted[method]["slowest"] / 1e3, "slowest_us": slowest, "mean_us": mean,
                     "over_place": statistics.mean(against), "interval": spread, "copies": predicted[method]["copies"]})
    return rows


def show(options, layer, rows):
    print(f"{options.model}: {layer.experts} experts on {options.devices} devices, {options.tokens} tokens a step, {options.topics} topics (zipf {options.skew:g}), "
          f"{options.slots or 'as few as possible'} slots a device; "
          f"{options.steps} steps recorded, {options.judged} others timed on {options.device}")
    print(f"{'method':8} {'predicted us':>13} {'slowest us':>11} {'mean us':>9} {'waits':>7} {'over moec place':>18} {'copies':>7}")
    for row in rows:
        waits = 1 - row["mean_us"] / row["slowest_us"]
        print(f"{row['method']:8} {row['predicted_us']:13.1f} {row['slowest_us']:11.1f} {row['mean_us']:9.1f} {waits:7.1%} "
              f"{row['over_place']:10.3f} ± {row['interval']:.3f} {row['copies']:7}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moec", required=True, help="the command line")
    parser.add_argument("--library", help="libmoec.so; default: where moec's Python finds it")
    parser.add_argument("--model", required=True, help="a config.json, or its folder; its first MoE layer gets random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--devices", type=int, default=8, help="to place experts on")
    parser.add_argument("--slots", type=int, default=0, help="experts and copies that each may hold")
    parser.add_argument("--topics", type=int, default=4)
    parser.add_argument("--skew", type=float, default=1.0, help="zipf exponent of a topic")
    parser.add_argument("--steps", type=int, default=48, help="recorded")
    parser.add_argument("--judged", type=int, default=24, help="timed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json")
    parser.add_argument("--trace", help="keep the decision trace here")
    options = parser.parse_args()
    if options.library:
        moec.use(options.library)
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        trace = options.trace or str(pathlib.Path(folder) / "trace.jsonl")
        session = moec.open(options.model, weights="random:seed=1", layers=[first_layer(options)], device=options.device,
                            max_tokens=options.tokens, planned_tokens=options.tokens, max_graphs=0 if options.device == "cpu" else 1,
                            max_graph_tokens=options.tokens)
        layer = next(iter(session.layers.values()))
        runner = OnCpu(session, layer, options.tokens) if options.device == "cpu" else OnGpu(session, layer, options.tokens, options.device)
        routing = Routing(layer, options.tokens, options.topics, options.skew, options.seed, runner.draw)
        record(options, session, runner, routing, trace)
        placements, predicted = place(options, trace, folder)
        rows = rows_of(measure(options, runner, routing, placements), predicted)
        runner.finish()
        session.close()
    show(options, layer, rows)
    if options.json:
        result = {"schema": "moec.bench-place", "schema_version": 1, **vars(options), "rows": rows}
        pathlib.Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


def first_layer(options):
    """The number of the model's first MoE layer."""
    shown = subprocess.run([options.moec, "inspect", options.model, "--format=json"], check=True, capture_output=True, text=True)
    return json.loads(shown.stdout)["layers"][0]["layer"]


if __name__ == "__main__":
    main()
