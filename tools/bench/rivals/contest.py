"""One rival's turn on one problem. No torch here: what touches the GPU is handed in."""

import dataclasses

from rivals.protocol import why

# Relative L2 of the worst token against float32. Rounding to bf16 once costs 1.7e-3. Layers round where products, activation,
# weights, each step of the sum over K and the output leave registers, some 15 times at most, so 6.5e-3; half as much again.
# Beside e4m3 weights tokens and activations are quantised to e4m3, by contestants but not in the float32 layer of the very weights:
# 4.3e-2 on average and 4.6e-2 to 5.6e-2 in the worst of 64 to 4096 tokens (moec's rules in torch, on the sizes measured); a quarter
# more. Two blocks of an expert with each other's scales give 0.17 and more, of Mixtral, which has 112 in a row, 0.072.
MAX_ERROR = {"bf16": 1e-2, "e4m3": 7e-2}


class DeviceLost(Exception):
    """The GPU's context is gone: nothing else in this process can be measured."""


@dataclasses.dataclass(frozen=True)
class Entry:
    us: float
    variant: str
    timing: str  # "graph", or "stream" where no CUDA graph could hold it: launches and waits are then in the time
    error: float


def contest(variants, problem, bench, weights="bf16"):
    """(The fastest right variant's entry, or None; where none is right, the least error of those that ran, or None; a line for
    each variant that is wrong or does not run).

    bench.error_of(variant) is its relative error, bench.time(variant) its (microseconds, timing), and bench.recover() is called
    after an exception and raises DeviceLost where there is no going on.
    """
    best, errors, reasons = None, [], []
    for variant in variants:
        if not variant.takes(problem):
            continue
        of = f"{variant.label}: " if variant.label else ""
        try:
            error = bench.error_of(variant)
            if not error < MAX_ERROR[weights]:  # also NaN
                errors.append(error)
                reasons.append(f"{of}wrong, relative error {error:.1e}; not timed")
                continue
            us, timing = bench.time(variant)
        except Exception as error:
            reasons.append(f"{of}{why(error)}")
            bench.recover()
            continue
        if best is None or us < best.us:
            best = Entry(us, variant.label, timing, error)
    if best is None and not reasons:
        reasons.append("no variant takes this size")
    return best, min(errors, key=lambda error: (error != error, error), default=None) if best is None else None, reasons


def build(rival, layer, bench):
    """(The rival's variants for a layer, None), or ([], the line that says why there are none)."""
    try:
        return rival.build(layer), None
    except Exception as error:
        bench.recover()
        return [], f"not built: {why(error)}"
