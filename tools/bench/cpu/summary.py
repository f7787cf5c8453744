#!/usr/bin/env python3
"""Tables of docs/benchmarks-cpu.md from the JSON files that tools/bench/cpu/run left in a folder, as Markdown on stdout.

Each bar of the CPU path is named with what was measured: "holds" where the interval lies beyond it, "at the bar" where
the interval contains it, "missed" where it lies below.
"""

import json
import pathlib
import sys


def load(folder, name):
    path = folder / f"{name}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def interval(part):
    return f"{part['ratio']:.3f} ({part['low']:.3f} .. {part['high']:.3f})"


def verdict(part, bar, above=True):
    low, high = (part["low"], part["high"]) if above else (-part["high"], -part["low"])
    bar = bar if above else -bar
    return "holds" if low >= bar else "at the bar" if high >= bar else "missed"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def library(folder):
    for name in ("library-bf16", "library-f32", "library-qwen3"):
        if not (data := load(folder, name)):
            continue
        machine, onednn = data["machine"], data["onednn"]
        print(f"**{data['model']}, {data['dtype']}** ({machine['cpu']}, {machine['isa']}, {machine['threads']} threads, read "
              f"{machine['read_gb_per_s']:.0f} GB/s, tiles {machine['peak_gflops']:.0f} GFLOP/s; oneDNN {onednn['version']}, "
              f"`{onednn['implementations']}`, {onednn['weight_layouts']} weight layout)\n")
        print(table(["tokens", "rows per expert", "moec ms", "oneDNN ms", "schedule", "oneDNN time / moec time", "bar 1.0 from 16 rows on"],
                    [[row["tokens"], f"{row['rows_per_expert']:g}", f"{row['moec_ms']:.3f}", f"{row['onednn_ms']:.3f}",
                      row["onednn_schedule"], interval(row["onednn_over_moec"]),
                      verdict(row["onednn_over_moec"], 1) if row["rows_per_expert"] >= 16 else ""] for row in data["rows"]]))
    if peers := load(folder, "peers"):
        print(f"PyTorch {peers['torch']} on the routing of the first table (another process):\n")
        ways = sorted({key for row in peers["rows"] for key in row} - {"tokens"})
        print(table(["tokens"] + [way.removesuffix("_ms") + " ms" for way in ways],
                    [[row["tokens"]] + [f"{row[way]:.3f}" if way in row else "" for way in ways] for row in peers["rows"]]))


def static(folder):
    rows = []
    for path in sorted(folder.glob("static-*.json"), key=lambda path: int(path.stem.split("-")[1])):
        for row in load(folder, path.stem)["rows"]:
            generation = row["variants"][0]
            rows.append([row["tokens"], generation["tile_rows"], f"{row['generation_0_ms']:.3f}", row["best"], f"{row['best_ms']:.3f}",
                         len(row["variants"]) - 1, interval(row["generation_0_over_best"]),
                         interval(row["generation_0_over_chosen_per_step"]), verdict(row["generation_0_over_best"], 0.97)])
    if rows:
        print(table(["tokens", "generation 0", "ms", "best static", "ms", "of", "generation 0 / best", "generation 0 / chosen per step",
                     "bar 0.97"], rows))


def p99(folder):
    rows = []
    for path in sorted(folder.glob("p99-*.json")):
        data = load(folder, path.stem)
        for row in data["rows"]:
            rows.append([row["tokens"], row["class"], row["steps"], f"{row['alone_ms']['p99']:.2f}", f"{row['spinning_ms']['p99']:.2f}",
                         f"{row['compiling_ms']['p99']:.2f}", interval(row["p99_compiling_over_spinning"]), f"{row['pooled_ratio']:.3f}",
                         f"{row['compiles']} of {row['compile_ms']:.0f} ms", verdict(row["p99_compiling_over_spinning"], 1.1, above=False)])
    if rows:
        print(table(["tokens", "class", "steps", "p99 alone ms", "p99 beside a spinning thread", "p99 beside compiles", "ratio by repeat",
                     "ratio pooled", "compiles", "bar 1.1"], rows))


def compile_times(folder):
    if not (data := load(folder, "compile")):
        return
    rows = []
    for name, bar in (("cold", 500), ("cached", 5)):
        part = data[name]
        most = part["get_ms"]["most"] + part["load_ms"]["most"]
        rows.append([name, f"{part['get_ms']['median']:.2f}", f"{part['load_ms']['median']:.2f}", f"{most:.2f}",
                     f"{part['cache_hits']} of {part['layers']}", "yes" if part["compiler_loaded"] else "no", bar,
                     "holds" if most <= bar else "missed"])
    print(table(["", "get ms", "load ms", "most ms", "cache hits", "compiler mapped", "bar ms", ""], rows))


def drift(folder):
    rows = []
    for budget in (40, 100):
        for name in ("none", "sudden", "load", "rotation", "square"):
            if not (data := load(folder, f"drift-{name}-{budget}")):
                continue
            replay = load(folder, f"replay-{name}-{budget}") or {}
            rates = {phase["name"]: phase["tokens_per_s"] for phase in data["phases"]}

            def ratio(key):
                return interval({"ratio": data[key], "low": data[key + "_low"], "high": data[key + "_high"]})

            rows.append([name, f"{budget} %", *(f"{rates[phase]:.0f}" for phase in ("before", "drifted", "generic", "retabled", "swapped",
                                                                                    "prebuilt")),
                         data["changes"], data["kernels_built"], data["rolled_back"], ratio("swapped_over_drifted") if data["swapped"] else "no change",
                         f"{100 * data['predicted_gain']:.1f} %", f"{100 * data['monitor_share']:.4f} %",
                         "equal" if replay.get("matches") else "differs", ", ".join(data["refusals"])])
    if rows:
        print(table(["drift", "budget", "before tokens/s", "drifted", "generic", "retabled", "swapped", "prebuilt", "changes",
                     "kernels built", "rolled back", "swapped / drifted", "predicted", "monitor", "replay", "refusals"], rows))
    if data := load(folder, "drift-exhaustive"):
        found = data["exhaustive"]
        part = {"ratio": found["swapped_over_best"], "low": found["swapped_over_best_low"], "high": found["swapped_over_best_high"]}
        print(f"Exhaustive, `load` at 40 %: of {found['height_sets']} sets of tile heights the {found['measured']} that predict least were "
              f"measured; swapped over the best ({found['best']}): {interval(part)}, bar 0.95: {verdict(part, 0.95)}.\n")


def bench_table(folder):
    if data := load(folder, "table"):
        print(table(["tokens", "experts hit", "router + top-k us", "layer us", "GFLOP/s", "weights GB/s"],
                    [[row["tokens"], row["experts_hit"], f"{row['route_us']:.1f}", f"{row['layer_us']:.0f} ({row['layer_us_low']:.0f} .. "
                      f"{row['layer_us_high']:.0f})", f"{1e3 * row['tflops']:.0f}", f"{row['weight_gb_per_s']:.0f}"] for row in data["rows"]]))


def main():
    folder = pathlib.Path(sys.argv[1])
    for title, part in (("The library beside", library), ("Static variants", static), ("While compiling", p99),
                        ("Getting kernels", compile_times), ("A step's parts", bench_table), ("Drift", drift)):
        print(f"## {title}\n")
        part(folder)


if __name__ == "__main__":
    main()
