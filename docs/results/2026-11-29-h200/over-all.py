#!/usr/bin/env python3
"""The best of all rivals on an H200, vLLM among them: each cell's ratio of the best rival's time to moec's, each in a run of its own.

    python3 docs/results/2026-11-29-h200/over-all.py
"""

import json
import math
from pathlib import Path

HERE = Path(__file__).parent
SKEWS = {"uniform": 0.0, "zipf": 1.2, "hot": 3.0}
# Medians of rounds in turns (turns-*.json), where there are any: cells in which the grid's ratio was below 1.
TURNS = {("mixtral", 4096, 0.0): ("best", 1.112), ("mixtral", 16384, 0.0): ("best", 1.028), ("mixtral", 16384, 3.0): ("best", 1.043),
         ("mixtral", 16, 0.0): ("vllm", 1.003), ("mixtral", 64, 0.0): ("vllm", 1.007)}


def ratios(*files):
    """Of each cell; a later file's cells count."""
    return {(row["shape"], row["tokens"], row["skew"]): min(rival["us"] for rival in row["rivals"].values()) / row["moec_us"]
            for file in files for row in json.loads((HERE / file).read_text())["rows"] if row["rivals"]}


def slice_of_log(file):
    """Cells of a table that the run left when its time ended: moec's time is the one before the rival's."""
    lines = [line.split() for line in (HERE / file).read_text().splitlines() if not line.startswith("#")]
    return {(cell[0], int(cell[1]), float(cell[2])): float(cell[8]) / float(cell[4]) for cell in lines}


def mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values))


def show(title, best, vllm, turns):
    print(title)
    turned = {"best": dict(best), "vllm": dict(vllm)}
    for cell, (whose, ratio) in turns.items():
        turned[whose][cell] = ratio
    least = lambda pair, cell: min(ratio[cell] for ratio in pair if cell in ratio)
    for name, skew in [*SKEWS.items(), ("all", None)]:
        cells = [cell for cell in best if skew is None or cell[2] == skew]
        measured = [cell for cell in cells if cell in vllm]
        every = {cell: least((best, vllm), cell) for cell in cells}
        after = {cell: least((turned["best"], turned["vllm"]), cell) for cell in cells}
        print(f"  {name:8} without vLLM {mean(best[cell] for cell in cells):.3f}, vLLM alone {mean(vllm[cell] for cell in measured):.3f} "
              f"({len(measured)} cells, least {min(vllm[cell] for cell in measured):.3f}, the best rival in {sum(vllm[cell] < best[cell] for cell in measured)}), "
              f"best of all {mean(every.values()):.3f}, with turns {mean(after.values()):.3f}, "
              f"behind {[(cell, round(ratio, 3)) for cell, ratio in after.items() if ratio < 1]}")
    for tokens in (1, 16, 64, 256, 1024, 4096, 16384):
        cells = [cell for cell in vllm if cell[1] == tokens]
        print(f"  {tokens:6} tokens: vLLM alone {mean(vllm[cell] for cell in cells):.2f}, least {min(vllm[cell] for cell in cells):.2f}")


few, fp8 = "../2026-11-28-h200-few", "../2026-11-28-h200-few-fp8"
show("bf16", ratios(*(f"{few}/peers-{name}.json" for name in SKEWS)), ratios(*(f"peers-vllm-{name}.json" for name in SKEWS)), TURNS)
show("e4m3", ratios(*(f"{fp8}/peers-e4m3-{name}.json" for name in SKEWS), "peers-e4m3-one.json"),
     ratios(*(f"peers-e4m3-vllm-{name}.json" for name in SKEWS)) | slice_of_log("peers-e4m3-vllm-slice.txt"), {})
