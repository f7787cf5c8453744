#!/usr/bin/env python3
"""When what happens in a layer of one token, and on how many multiprocessors its tiles are, from what a bench with
stamps.patch prints (TIMED, then S lines: event, block, %globaltimer, %smid).

    docs/results/2026-11-28-h100-uniform/stamps.py OUTPUT...

(bothProducts.patch: "waited" is when a row was first looked for.) us from the first block's entry; medians over the layers of the least, the tenth, half, nine tenths and the last.
"""
import collections
import statistics
import sys

EVENTS = {0: "gate-up entered", 1: "gate-up found its tiles", 3: "gate-up stored", 4: "down entered",
          10: "down found its tiles", 5: "down's loader waited", 11: "its rows were there", 6: "down stored", 7: "combine entered",
          8: "combine waited", 9: "combine ended"}


def runs(path):
    found = []
    for line in open(path):
        words = line.split()
        if line.startswith("TIMED"):
            found.append((words[1], float(words[2]), collections.defaultdict(list)))
        elif line.startswith("S "):
            found[-1][2][int(words[1])].append((int(words[3]), int(words[4]) if len(words) > 4 else None))
    return found


def begins(times, gap):
    starts = []
    for time in sorted(times):
        if not starts or time - starts[-1] > gap:
            starts.append(time)
    return starts


def table(us, events):
    starts = begins((time for time, _ in events[0]), 15000)
    layers = [(a, b) for a, b in zip(starts, starts[1:]) if 0.85 < (b - a) / 1000 / us < 1.15]
    for event, name in EVENTS.items():
        rows = []
        for begin, end in layers:
            early = event in (0, 1)
            times = sorted(time - begin for time, _ in events[event]
                           if (begin - 500 <= time < end - 500 if early else begin + 3000 <= time < end + 6000))
            if times:
                rows.append([times[0], times[len(times) // 10], times[len(times) // 2], times[-max(1, len(times) // 10)],
                             times[-1]])
        if rows:
            print(f"  {name:24}", *(f"{statistics.median(row[i] for row in rows) / 1000:7.2f}" for i in range(5)))


def placement(name, stamps):
    if not stamps or stamps[0][1] is None:
        return
    layers, layer = collections.Counter(), []
    stamps = sorted(stamps)
    for i, (time, place) in enumerate(stamps):
        layer.append(place)
        if i + 1 == len(stamps) or stamps[i + 1][0] - time > 10000:
            layers[len(layer), len(set(layer))] += 1
            layer = []
    print(f"  {name}: (tiles, multiprocessors) of layers:", layers.most_common(6))


for path in sys.argv[1:]:
    for kernels, us, events in runs(path):
        print(path, kernels, us)
        table(us, events)
        placement("gate-up", events[3])
        placement("down", events[6])
