#!/usr/bin/env python3
"""What each kernel of a bf16 layer must at least take, beside moec's times and the floor of the whole layer.

    docs/results/2026-11-27-h100-queues/kernel-floors.py docs/results/2026-11-27-h100-queues/peers-{uniform,zipf,hot}.json

A product takes the longer of its operations at 788 TFLOP/s and of its bytes at 2.9 TB/s (the weights of the experts hit, the rows it
reads and those it writes, each once); combine its bytes (a row read for each pair, one written for each token); dispatch nothing.
--combining: down writes the outputs of tokens with one expert, and no combine runs there.
"""
import json
import sys

COMBINING = "--combining" in sys.argv

SHAPES = {  # hidden, intermediate, experts, experts a token
    "olmoe": (2048, 1024, 64, 8),
    "qwen3-30b": (2048, 768, 128, 8),
    "mixtral": (4096, 14336, 8, 2),
    "dsv3-slice": (7168, 2048, 32, 1),
}
# Experts hit with zipf 3, as `moec-bench-gpu measure` prints them; all are in every other cell from 1,024 tokens on.
HIT = {("olmoe", 1024): 59.5, ("qwen3-30b", 1024): 75, ("qwen3-30b", 4096): 108, ("qwen3-30b", 16384): 127,
       ("dsv3-slice", 1024): 13.2, ("dsv3-slice", 4096): 17, ("dsv3-slice", 16384): 27}
FLOPS, BYTES = 788e12, 2.9e12


def kernels_us(shape, tokens, skew):
    hidden, inner, experts, top_k = SHAPES[shape]
    hit, pairs = HIT.get((shape, tokens), experts) if skew == 3 else experts, tokens * top_k
    matrix, product = 2 * hidden * inner, 2 * pairs * hidden * inner  # bytes of an expert's; operations with one matrix
    gate_up = max(2 * product / FLOPS, (2 * hit * matrix + 2 * tokens * hidden + 2 * pairs * inner) / BYTES)
    down = max(product / FLOPS, (hit * matrix + 2 * pairs * inner + 2 * pairs * hidden) / BYTES)
    combine = 0 if COMBINING and top_k == 1 else 2 * (pairs + tokens) * hidden / BYTES
    return [1e6 * seconds for seconds in (gate_up, down, combine)]


print("| shape | skew | T | floor us | kernels' floors us (gate-up, down, combine) | moec us | of the floor | of the kernels' | most that they allow |")
print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
for path in [path for path in sys.argv[1:] if path != "--combining"]:
    for row in json.load(open(path))["rows"]:
        if row["tokens"] < 1024:
            continue
        parts = kernels_us(row["shape"], row["tokens"], row["skew"])
        floor, us, kernels = row["floor_us"], row["moec_us"], sum(parts)
        print("| %s | %g | %d | %.0f | %.0f (%s) | %.0f | %.0f%% | %.0f%% | %.0f%% |"
              % (row["shape"], row["skew"], row["tokens"], floor, kernels, ", ".join("%.0f" % p for p in parts), us, 100 * floor / us,
                 100 * kernels / us, 100 * floor / kernels))
