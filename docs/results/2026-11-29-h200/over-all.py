#!/usr/bin/env python3
"""The best of all rivals on an H200, vLLM and FlashInfer among them: each cell's ratio of the best rival's time to moec's, each in a run of its own.

    python3 docs/results/2026-11-29-h200/over-all.py
"""

import json
from pathlib import Path
from statistics import geometric_mean, median

HERE = Path(__file__).parent
SKEWS = {"uniform": 0.0, "zipf": 1.2, "hot": 3.0}
TOKENS = (1, 16, 64, 256, 1024, 4096, 16384)


def ratios(*files):
    """Of each cell; a later file's cells count."""
    return {(row["shape"], row["tokens"], row["skew"]): min(rival["us"] for rival in row["rivals"].values()) / row["moec_us"]
            for file in files for row in json.loads((HERE / file).read_text())["rows"] if row["rivals"]}


def in_turns(*files):
    """Of the cells that were timed in turns, the ratio of medians of rounds."""
    return {(row["shape"], row["tokens"], row["skew"]): median(row["rival"]) / median(row["moec"])
            for file in files for row in json.loads((HERE / file).read_text())["rows"]}


def show(title, rivals, turns):
    """`rivals`: {name: ratios}, the first of several rivals that shared runs; `turns`: the same of cells that turns decide."""
    print(title)
    first = next(iter(rivals))
    turned = {name: ratio | turns.get(name, {}) for name, ratio in rivals.items()}
    for name, skew in [*SKEWS.items(), ("all", None)]:
        cells = [cell for cell in rivals[first] if skew is None or cell[2] == skew]
        assert all(cell in ratio for cell in cells for ratio in rivals.values()), "a cell without a time"
        alone = ", ".join(f"{rival} {geometric_mean(ratio[cell] for cell in cells):.3f}" for rival, ratio in rivals.items())
        best = {cell: min(ratio[cell] for ratio in rivals.values()) for cell in cells}
        after = {cell: min(ratio[cell] for ratio in turned.values()) for cell in cells}
        print(f"  {name:8} {alone}; best of all {geometric_mean(best.values()):.3f}, with turns {geometric_mean(after.values()):.3f} (least "
              f"{min(after.values()):.3f}), behind {[(cell, round(ratio, 3)) for cell, ratio in after.items() if ratio < 1]}")
    for rival, ratio in rivals.items():
        others = [other for other in rivals if other != rival]
        wins = sum(all(ratio[cell] < rivals[other][cell] for other in others) for cell in ratio)
        by_tokens = ", ".join(f"{geometric_mean(ratio[cell] for cell in ratio if cell[1] == tokens):.2f}" for tokens in TOKENS)
        print(f"  {rival}: the best one in {wins} of {len(ratio)} cells, least {min(ratio.values()):.3f} {min(ratio, key=ratio.get)}; at {TOKENS}: {by_tokens}")


few, fp8 = "../2026-11-28-h200-few", "../2026-11-28-h200-few-fp8"
bf16 = {"torch, transformers, triton, triton_kernels": ratios(*(f"{few}/peers-{name}.json" for name in SKEWS)),
        "vllm": ratios(*(f"peers-vllm-{name}.json" for name in SKEWS)),
        "flashinfer": ratios(*(f"peers-flashinfer-{name}.json" for name in (*SKEWS, "slice")))}
turns = {"torch, transformers, triton, triton_kernels": in_turns(f"{few}/turns-mixtral.json"),
         "vllm": in_turns("turns-vllm-mixtral.json", "turns-vllm-slice.json")}
e4m3 = {"triton, deepgemm": ratios(*(f"{fp8}/peers-e4m3-{name}.json" for name in SKEWS), "peers-e4m3-one.json"),
        "vllm": ratios(*(f"peers-e4m3-vllm-{name}.json" for name in (*SKEWS, "slice", "slice-few"))),
        "flashinfer": ratios(*(f"peers-e4m3-flashinfer-{name}.json" for name in SKEWS))}
for title, rivals, in_turn in (("bf16", bf16, turns), ("e4m3", e4m3, {})):
    show(title, rivals, in_turn)
    show(f"{title}, without FlashInfer", {name: ratio for name, ratio in rivals.items() if name != "flashinfer"}, in_turn)
