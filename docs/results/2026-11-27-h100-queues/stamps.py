#!/usr/bin/env python3
"""What each tile of a product says of its launch. stamps.patch makes a bench whose multiplying blocks leave their clocks.

    moec-bench-gpu measure ... > FILE
    stamps.py FILE K              the last launch with sums of length K
    stamps.py FILE K --cache      bytes of memory of the last two, if the cache has what was read so many us before
"""
import collections
import sys
from typing import NamedTuple

STAGE = 64  # elements of the sum
BLOCK_WEIGHTS = 256  # weight rows of a block's tile
SLICES = 20  # of a tile's time, within which it reads evenly


class Tile(NamedTuple):
    """A line of the bench: clocks from `begin` on, and the device's clock in ns."""

    sm: int
    expert: int
    rows: int
    column: int
    slot: int
    k: int
    taken: int  # clocks until it has a tile
    full: int  # until its first stage is there
    summed: int  # until its sums are
    done: int  # until its outputs are on their way
    waited: int  # for later stages
    begin: int
    end: int

    @property
    def us(self):
        return (self.end - self.begin) / 1e3


def launches(path, k):
    """Tiles of each launch: one begins where all of the one before have ended."""
    products = []
    for line in open(path):
        if line.startswith("STAMP launch"):
            products.append([])
        elif line.startswith("S "):
            products[-1].append(Tile(*map(int, line.split()[1:])))
    found = []
    for tiles in products:
        end = None
        for tile in sorted((t for t in tiles if t.k == k), key=lambda t: t.begin):
            if end is None or tile.begin >= end:
                found.append([])
                end = tile.end
            found[-1].append(tile)
            end = max(end, tile.end)
    return found


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def show(tiles):
    begin, end = min(t.begin for t in tiles), max(t.end for t in tiles)
    of_sm = collections.defaultdict(list)
    for tile in tiles:
        of_sm[tile.sm].append(tile)
    last = sorted((max(t.end for t in own) - begin) / 1e3 for own in of_sm.values())
    counts = sorted(collections.Counter(len(own) for own in of_sm.values()).items())
    print(f"{(end - begin) / 1e3:.1f} us, {len(tiles)} tiles; multiprocessors by tiles: {dict(counts)}")
    quarters = ", ".join(f"{last[min(len(last) - 1, len(last) * i // 4)]:.1f}" for i in range(5))
    print(f"last ends (least, quarters, most) {quarters} us; idle at the end {last[-1] - mean(last):.1f} us on average")
    show_heights(tiles)
    show_time(tiles, begin, end, len(of_sm))


def show_heights(tiles):
    steps = tiles[0].k / STAGE
    total = sum(t.us for t in tiles)
    print("rows  tiles  us: mean, least, most     share | clocks: take  first stage  step  waited/step  outputs | GHz")
    for rows in sorted({(t.rows + 15) // 16 * 16 for t in tiles}):
        own = [t for t in tiles if (t.rows + 15) // 16 * 16 == rows]
        us = [t.us for t in own]
        ghz = mean(t.taken + t.done for t in own) / mean(us) / 1e3
        print(
            f"{rows:4} {len(own):6}  {mean(us):7.1f} {min(us):7.1f} {max(us):7.1f} {100 * sum(us) / total:10.1f}% |"
            f" {mean(t.taken for t in own):12.0f} {mean(t.full for t in own):12.0f}"
            f" {mean(t.summed for t in own) / steps:5.0f} {mean(t.waited for t in own) / steps:12.0f}"
            f" {mean(t.done - t.summed for t in own):8.0f} | {ghz:.2f}"
        )


def show_time(tiles, begin, end, sms):
    print("twelfths of the time: share of multiprocessors on tiles of more than 96 rows, on others; waiting")
    for part in range(12):
        low, high = (begin + (end - begin) * (part + i) / 12 for i in range(2))
        share = collections.Counter()
        for tile in tiles:
            within = max(0, min(high, tile.end) - max(low, tile.begin))
            share["large" if tile.rows > 96 else "small"] += within
            share["waiting"] += within * (tile.waited + tile.full) / max(1, tile.taken + tile.done)
        whole = (high - low) * sms
        print(f"{part:2} {share['large'] / whole:.2f} {share['small'] / whole:.2f} {share['waiting'] / whole:.2f}")


def read_bytes(groups, window_us):
    """Of readers of the same bytes, each slice of which is read again where the last read of it is too long ago."""
    again = once = 0
    for size, readers in groups:
        once += size
        for part in range(SLICES):
            times = sorted(t.begin + (t.end - t.begin) * (part + 0.5) / SLICES for t in readers)
            reads = 1 + sum(later - earlier > window_us * 1e3 for earlier, later in zip(times, times[1:]))
            again += size * reads / SLICES
    return again / 1e6, once / 1e6


def show_cache(tiles):
    weights, tokens = collections.defaultdict(list), collections.defaultdict(list)
    for tile in tiles:
        weights[tile.expert, tile.column].append(tile)
        tokens[tile.expert, tile.slot].append(tile)  # blocks of a cluster begin together: its second reads nothing more
    weight_groups = [(BLOCK_WEIGHTS * own[0].k * 2, own) for own in weights.values()]
    token_groups = [(own[0].rows * own[0].k * 2, own) for own in tokens.values()]
    for window in (3, 5, 10, 20, 40, 80, 1000):
        w, least_w = read_bytes(weight_groups, window)
        t, least_t = read_bytes(token_groups, window)
        print(f"{window:4} us: weights {w:.0f} MB ({least_w:.0f} once), tokens {t:.0f} MB ({least_t:.0f} once)")


def main():
    found = launches(sys.argv[1], int(sys.argv[2]))
    if sys.argv[3:] == ["--cache"]:
        for tiles in found[-2:]:
            show_cache(tiles)
    else:
        show(found[-1])


main()
