#!/usr/bin/env python3
"""The placement search beside integer programs (COIN-OR Cbc by PuLP; wants numpy, pulp). Output: ilp.txt.

Steps mix topics (tools/bench/place.py); an expert costs a device the larger of its weights' time and its rows' (knee at `knee` rows). Half of
the steps plan, half judge. `step / balanced` is the mean over steps of the slowest device's cost over the mean device's.
- `mean loads, ILP`: MoETuner's first program: least sum over devices of |load - mean load|, mean pairs.
- `descent`: exchanges of two experts while they lower the mean of the slowest (compiler/core/PlacementSearch.cpp does the same, without copies).
- `descent + ILP`: then each two devices' experts split anew by a program, two rounds.
- `whole ILP`: all devices in one program, started from the descent's answer.
"""

import itertools
import time

import numpy as np
import pulp

CASES = [(64, 8, 256, 8, 1.0, 4, 60), (64, 8, 4096, 8, 1.2, 4, 300), (128, 8, 1024, 8, 1.0, 4, 100), (8, 2, 4096, 4, 1.0, 3, 300), (256, 8, 64, 8, 1.2, 6, 4)]


def draw(rng, experts, top_k, tokens, steps, skew, topics):
    base = np.stack([rng.permutation(1.0 / np.arange(1, experts + 1) ** skew) for _ in range(topics)])
    base /= base.sum(1, keepdims=True)
    drawn = []
    for _ in range(steps):
        mixed = rng.dirichlet(np.ones(topics) * 0.5) @ base
        keys = np.log(mixed)[None] + rng.gumbel(size=(tokens, experts))
        drawn.append(np.bincount(np.argsort(-keys, 1)[:, :top_k].ravel(), minlength=experts))
    return np.array(drawn).astype(float)


def loads(costs, homes, devices):
    return np.stack([costs[:, homes == device].sum(1) for device in range(devices)], 1)


def judged(costs, homes, devices):
    found = loads(costs, homes, devices)
    return found.max(1).mean() / found.mean()


def greedy(mean, devices):
    homes, load, count = np.zeros(len(mean), int), np.zeros(devices), np.zeros(devices, int)
    for expert in np.argsort(-mean, kind="stable"):
        device = min((d for d in range(devices) if count[d] < len(mean) // devices), key=lambda d: load[d])
        homes[expert], load[device], count[device] = device, load[device] + mean[expert], count[device] + 1
    return homes


def descent(costs, homes, devices):
    homes, better = homes.copy(), True
    load = loads(costs, homes, devices)
    best = load.max(1).mean()
    while better:
        better = False
        for i, j in itertools.combinations(range(len(homes)), 2):
            a, b = homes[i], homes[j]
            if a == b:
                continue
            after = load.copy()
            after[:, a] += costs[:, j] - costs[:, i]
            after[:, b] += costs[:, i] - costs[:, j]
            if (value := after.max(1).mean()) < best * (1 - 1e-9):
                homes[i], homes[j], load, best, better = b, a, after, value, True
    return homes


def solve(program, seconds):
    program.solve(pulp.PULP_CBC_CMD(msg=0, timeLimit=seconds, warmStart=True, gapRel=1e-4, threads=1))


def mean_loads(mean, devices, seconds, start):
    program, experts = pulp.LpProblem(), range(len(mean))
    x = [[pulp.LpVariable(f"x{e}_{d}", cat="Binary") for d in range(devices)] for e in experts]
    off = [pulp.LpVariable(f"off{d}", lowBound=0) for d in range(devices)]
    program += pulp.lpSum(off)
    for e in experts:
        program += pulp.lpSum(x[e]) == 1
    for d in range(devices):
        load = pulp.lpSum(float(mean[e]) * x[e][d] for e in experts)
        program += off[d] >= load - float(mean.sum() / devices)
        program += off[d] >= float(mean.sum() / devices) - load
        program += pulp.lpSum(x[e][d] for e in experts) == len(mean) // devices
    for e in experts:
        for d in range(devices):
            x[e][d].setInitialValue(int(start[e] == d))
    solve(program, seconds)
    return np.array([max(range(devices), key=lambda d: x[e][d].value() or 0) for e in experts])


def split(costs, homes, devices, among, seconds):
    """The experts of the devices `among` placed anew on them, the others as they are."""
    chosen = np.flatnonzero(np.isin(homes, among))
    load, others = loads(costs, homes, devices), [d for d in range(devices) if d not in among]
    rest = load[:, others].max(1) if others else np.zeros(len(costs))
    program, capacity = pulp.LpProblem(), len(homes) // devices
    x = [[pulp.LpVariable(f"x{e}_{d}", cat="Binary") for d in among] for e in chosen]
    t = [pulp.LpVariable(f"t{s}", lowBound=float(rest[s])) for s in range(len(costs))]
    program += pulp.lpSum(t)
    for row in x:
        program += pulp.lpSum(row) == 1
    for place, device in enumerate(among):
        program += pulp.lpSum(row[place] for row in x) <= capacity
        for s in range(len(costs)):
            program += t[s] >= pulp.lpSum(float(costs[s, e]) * row[place] for e, row in zip(chosen, x))
    for e, row in zip(chosen, x):
        for place, device in enumerate(among):
            row[place].setInitialValue(int(homes[e] == device))
    for s in range(len(costs)):
        t[s].setInitialValue(float(load[s].max()))
    solve(program, seconds)
    after = homes.copy()
    for e, row in zip(chosen, x):
        after[e] = among[max(range(len(among)), key=lambda place: row[place].value() or 0)]
    return after if loads(costs, after, devices).max(1).mean() < load.max(1).mean() else homes


def main():
    rng = np.random.default_rng(1)
    for experts, top_k, tokens, devices, skew, topics, knee in CASES:
        pairs = draw(rng, experts, top_k, tokens, 64, skew, topics)
        costs = np.where(pairs > 0, np.maximum(1, pairs / knee), 0)
        plan, judge = costs[:32], costs[32:]
        rows, start = [("by number", np.arange(experts) * devices // experts, 0.0)], time.time()

        def add(name, homes):
            nonlocal start
            rows.append((name, homes, time.time() - start))
            start = time.time()
            return homes

        of_means = add("mean loads, greedily", greedy(pairs[:32].mean(0), devices))
        add("mean loads, ILP (60 s)", mean_loads(pairs[:32].mean(0), devices, 60, of_means))
        found = add("descent", descent(plan, greedy(plan.mean(0), devices), devices))
        homes = found
        for _ in range(2):
            for among in itertools.combinations(range(devices), 2):
                homes = split(plan, homes, devices, among, 2)
        add("descent + ILP", homes)
        add("whole ILP (120 s)", split(plan, found, devices, tuple(range(devices)), 120))
        print(f"E={experts} K={top_k} T={tokens} D={devices}, zipf {skew}, {topics} topics")
        for name, homes, seconds in rows:
            mean = loads(pairs[:32].mean(0)[None], homes, devices)[0]
            print(f"  {name:24} planned on {judged(plan, homes, devices):.4f}  judged on {judged(judge, homes, devices):.4f}"
                  f"  mean pairs, busiest over mean {mean.max() / mean.mean():.4f}  {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
