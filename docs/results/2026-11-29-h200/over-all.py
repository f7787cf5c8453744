#!/usr/bin/env python3
"""The best of all rivals on an H200, vLLM among them: each cell's ratio of the best rival's time to moec's, each in a run of its own.

    python3 docs/results/2026-11-29-h200/over-all.py
"""

import json
from pathlib import Path
from statistics import geometric_mean, median

HERE = Path(__file__).parent
SKEWS = {"uniform": 0.0, "zipf": 1.2, "hot": 3.0}

def ratios(*files):
    """Of each cell; a later file's cells count."""
    return {(row["shape"], row["tokens"], row["skew"]): min(rival["us"] for rival in row["rivals"].values()) / row["moec_us"]
            for file in files for row in json.loads((HERE / file).read_text())["rows"] if row["rivals"]}


def in_turns(*files):
    """Of the cells that were timed in turns, the ratio of medians of rounds."""
    return {(row["shape"], row["tokens"], row["skew"]): median(row["rival"]) / median(row["moec"])
            for file in files for row in json.loads((HERE / file).read_text())["rows"]}


def show(title, best, vllm, turns_of_best={}, turns_of_vllm={}):
    print(title)
    turned = (best | turns_of_best, vllm | turns_of_vllm)
    least = lambda pair, cell: min(ratio[cell] for ratio in pair if cell in ratio)
    for name, skew in [*SKEWS.items(), ("all", None)]:
        cells = [cell for cell in best if skew is None or cell[2] == skew]
        measured = [cell for cell in cells if cell in vllm]
        every = {cell: least((best, vllm), cell) for cell in cells}
        after = {cell: least(turned, cell) for cell in cells}
        print(f"  {name:8} without vLLM {geometric_mean(best[cell] for cell in cells):.3f}, vLLM alone {geometric_mean(vllm[cell] for cell in measured):.3f} "
              f"({len(measured)} cells, least {min(vllm[cell] for cell in measured):.3f}, the best rival in {sum(vllm[cell] < best[cell] for cell in measured)}), "
              f"best of all {geometric_mean(every.values()):.3f}, with turns {geometric_mean(after.values()):.3f}, "
              f"behind {[(cell, round(ratio, 3)) for cell, ratio in after.items() if ratio < 1]}")
    for tokens in (1, 16, 64, 256, 1024, 4096, 16384):
        cells = [cell for cell in vllm if cell[1] == tokens]
        print(f"  {tokens:6} tokens: vLLM alone {geometric_mean(vllm[cell] for cell in cells):.2f}, least {min(vllm[cell] for cell in cells):.2f}")


few, fp8 = "../2026-11-28-h200-few", "../2026-11-28-h200-few-fp8"
show("bf16", ratios(*(f"{few}/peers-{name}.json" for name in SKEWS)), ratios(*(f"peers-vllm-{name}.json" for name in SKEWS)),
     in_turns(f"{few}/turns-mixtral.json"), in_turns("turns-vllm-mixtral.json", "turns-vllm-slice.json"))
show("e4m3", ratios(*(f"{fp8}/peers-e4m3-{name}.json" for name in SKEWS), "peers-e4m3-one.json"),
     ratios(*(f"peers-e4m3-vllm-{name}.json" for name in (*SKEWS, "slice", "slice-few"))))
