"""The table that peers.py prints. No torch here."""

import math


def width(name):
    return max(len(name), 8) + 2


def cell(name, entry):
    if entry is None:
        return f"{'-':>{width(name)}} "
    return f"{entry['us']:{width(name)}.1f}{'*' if entry['timing'] == 'stream' else ' '}"


def heading(names):
    columns = "".join(f"{name:>{width(name)}} " for name in names)
    return f"{'shape':10} {'T':>6} {'skew':>4} {'floor':>9} {'moec':>9} share{columns}   ahead  kernels"


def ahead(row):
    """The best rival's time over moec's; NaN where no rival ran. Bounds are less than a layer and do not count."""
    return min((entry["us"] for entry in row["rivals"].values()), default=math.nan) / row["moec_us"]


def line(row, names):
    entries = {**row["rivals"], **row["bounds"]}
    return (f"{row['shape']:10} {row['tokens']:6} {row['skew']:4.1f} {row['floor_us']:9.1f} {row['moec_us']:9.1f} "
            f"{row['floor_us'] / row['moec_us']:5.0%}" + "".join(cell(name, entries.get(name)) for name in names)
            + f" {ahead(row):6.2f}x  {row['kernels']}")


def notes(rows, missing):
    """A line for each rival that is missing, and for each thing that went wrong, with the cells where it did."""
    lines = [f"{name}: {reason}" for name, reason in missing.items()]
    cells = {}
    for row in rows:
        for name, reasons in row["failed"].items():
            for reason in reasons:
                cells.setdefault((name, reason), []).append(f"{row['shape']} T={row['tokens']}")
    for (name, reason), where in cells.items():
        more = f" and {len(where) - 3} more" if len(where) > 3 else ""
        lines.append(f"{name}: {reason} ({', '.join(where[:3])}{more})")
    if any(entry["timing"] == "stream" for row in rows for entry in {**row["rivals"], **row["bounds"]}.values()):
        lines.append("*: on a stream, launches and waits included; no CUDA graph could hold it")
    return lines


def summary(rows):
    ratios = [ratio for ratio in map(ahead, rows) if not math.isnan(ratio)]
    if not ratios:
        return "no rival ran"
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    behind = sum(ratio < 1 for ratio in ratios)
    return (f"moec against the best rival: geometric mean {mean:.2f}x over {len(ratios)} cells, {behind} behind, "
            f"worst {min(ratios):.2f}x")
