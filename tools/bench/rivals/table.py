"""The table that peers.py prints. No torch here."""

import math

from rivals.contest import MAX_ERROR

MOST_APART = 0.05  # moec's times before and after the rivals; more is flagged


def width(name):
    return max(len(name), 8) + 2


def thousandths(error):
    return f"{'' if error is None else f'{error * 1e3:.1f}':>5}"


def cell(name, entry, wrong):
    """A rival's time and error, `width(name)` + 6 wide."""
    if entry is None:
        return f"{'-' if wrong is None else 'wrong':>{width(name)}} {thousandths(wrong)}"
    return f"{entry['us']:{width(name)}.1f}{'*' if entry['timing'] == 'stream' else ' '}{thousandths(entry['error'])}"


def heading(names):
    columns = "".join(f"{name:>{width(name)}} {'err':>5}" for name in names)
    return f"{'shape':10} {'T':>6} {'skew':>4} {'floor':>9} {'moec':>9} {'after':>9}  {'err':>5} share{columns}   ahead  kernels; rivals' variants"


def is_wrong(row):
    """Whether moec's own output is; None where it is not known."""
    return row["moec_error"] is not None and not row["moec_error"] < MAX_ERROR[row["weights"]]


def moved(row):
    """Whether moec's two times are so far apart that who came when may decide the cell."""
    before, after = row["moec_before_us"], row["moec_after_us"]
    return after is not None and max(before, after) > (1 + MOST_APART) * min(before, after)


def ahead(row):
    """The best rival's time over moec's; NaN where no rival ran, or moec is wrong. Bounds are less than a layer and do not count."""
    if is_wrong(row):
        return math.nan
    return min((entry["us"] for entry in row["rivals"].values()), default=math.nan) / row["moec_us"]


def variants(row, names):
    """Behind a line: which variant each rival's time is of; a rival with one nameless variant needs no word."""
    used = [f"{name} {row['rivals'][name]['variant']}" for name in names if row["rivals"].get(name, {}).get("variant")]
    return f"; {', '.join(used)}" if used else ""


def line(row, names):
    entries = {**row["rivals"], **row["bounds"]}
    after = "-" if row["moec_after_us"] is None else f"{row['moec_after_us']:.1f}"
    return (f"{row['shape']:10} {row['tokens']:6} {row['skew']:4.1f} {row['floor_us']:9.1f} {row['moec_before_us']:9.1f} {after:>9}"
            f"{'!' if moved(row) else ' '} {thousandths(row['moec_error'])} {row['floor_us'] / row['moec_us']:5.0%}"
            + "".join(cell(name, entries.get(name), row["wrong"].get(name)) for name in names)
            + f" {ahead(row):6.2f}x  {row['kernels']}{variants(row, names)}")


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
    lines += [f"moec: wrong, relative error {row['moec_error']:.1e}; not counted ({row['shape']} T={row['tokens']})"
              for row in rows if is_wrong(row)]
    if any(row["weights"] == "e4m3" for row in rows):
        lines.append(f"err: thousandths, against float32 of the dequantised weights and tokens as given. Quantising tokens and activations "
                     f"to e4m3 costs 40 to 60 by itself, everybody's alike; more than {MAX_ERROR['e4m3'] * 1e3:.0f} is wrong")
    if any(map(moved, rows)):
        lines.append(f"!: moec's times before and after the rivals are more than {MOST_APART:.0%} apart; the slower one counts, and "
                     "turns.py tells who is quicker")
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
