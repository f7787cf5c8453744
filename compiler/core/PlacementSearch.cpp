#include "compiler/core/PlacementSearch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

namespace moec {

namespace {

using Costs = std::vector<double>; // one for each step, times the step's share of all weights

double sumOf(const Costs &costs) { return std::accumulate(costs.begin(), costs.end(), 0.0); }

/// What an expert costs each device that holds it, in each step, by how many devices do: the copy that gets most. Made
/// when they are first asked for.
class ExpertCosts {
public:
  explicit ExpertCosts(const PlacementProblem &problem)
      : problem(problem), byCopies(problem.steps.front().routing.pairs.size()) {
    for (const PlacedStep &step : problem.steps)
      weights += step.weight;
  }

  const Costs &of(uint32_t expert, uint32_t copies) {
    std::vector<Costs> &known = byCopies[expert];
    if (known.size() < copies)
      known.resize(copies);
    if (known[copies - 1].empty())
      known[copies - 1] = made(expert, copies);
    return known[copies - 1];
  }

private:
  Costs made(uint32_t expert, uint32_t copies) const {
    Costs costs;
    for (const PlacedStep &step : problem.steps) {
      const uint32_t pairs = expert < step.routing.pairs.size() ? step.routing.pairs[expert] : 0;
      const uint32_t rows = pairs / copies + (pairs % copies > 0);
      costs.push_back(problem.cost.at(rows) * (weights > 0 ? step.weight / weights : 0));
    }
    return costs;
  }

  const PlacementProblem &problem;
  double weights = 0;
  std::vector<std::vector<Costs>> byCopies;
};

/// A placement, what it costs each device in each step, and the changes that lower the sum of the slowest.
class Descent {
public:
  Descent(const PlacementProblem &problem, const LayerPlacement &start);

  /// Takes changes until none lowers the cost.
  void run(bool copies);
  PlacementSearch answer() const;

private:
  struct Change {
    uint32_t device, expert;
    bool add;
  };

  bool holds(uint32_t device, uint32_t expert) const { return held[device * experts + expert] != 0; }
  const Costs &costs(uint32_t expert) { return costOf.of(expert, copies[expert]); }
  bool isFull(uint32_t device) const { return placed.on[device].size() >= problem.slotsPerDevice; }

  void rank(size_t step);
  void recount();
  double othersSlowest(size_t step) const;
  bool canGain(uint32_t device) const { return isSlowest[device] != 0; }
  double costOfMoving(uint32_t from, uint32_t to, const Costs &leaving, const Costs *coming);
  double costOfChanges(std::span<const Change> changes);
  void apply(std::span<const Change> changes);
  bool takeIfLower(double found, std::span<const Change> changes);
  bool dropUseless(uint32_t device);
  bool exchange(uint32_t a, uint32_t slot);
  bool move(uint32_t device, uint32_t slot);
  bool copyInto(uint32_t device, uint32_t expert);
  bool sweep();
  bool sweepCopies();

  const PlacementProblem &problem;
  ExpertCosts costOf;
  LayerPlacement placed;
  const uint32_t experts, devices;
  const size_t steps;
  std::vector<uint8_t> held; // [D, E]
  std::vector<uint32_t> copies;
  std::vector<Costs> load;                  // [D]
  std::vector<std::vector<uint32_t>> order; // [steps]: devices, the costliest first
  std::vector<uint8_t> isSlowest;           // [D]: in some step. No change that leaves these as they are gains
  std::vector<uint8_t> onSlowest;           // [E]: held by such a device
  std::vector<uint8_t> touched;             // [D]: by the change that is being weighed
  double cost = 0;
};

Descent::Descent(const PlacementProblem &problem, const LayerPlacement &start)
    : problem(problem), costOf(problem), placed(start), experts(start.numExperts), devices(problem.devices),
      steps(problem.steps.size()), held(size_t{devices} * experts), copies(start.copies()), order(steps),
      touched(devices) {
  for (uint32_t device = 0; device < devices; ++device)
    for (uint32_t expert : placed.on[device])
      held[device * experts + expert] = 1;
  recount();
}

void Descent::rank(size_t step) {
  order[step].resize(devices);
  std::iota(order[step].begin(), order[step].end(), 0);
  std::sort(order[step].begin(), order[step].end(), [&](uint32_t a, uint32_t b) {
    return load[a][step] != load[b][step] ? load[a][step] > load[b][step] : a < b;
  });
}

/// From nothing, so that rounding does not add up over changes.
void Descent::recount() {
  load.assign(devices, Costs(steps, 0.0));
  for (uint32_t device = 0; device < devices; ++device)
    for (uint32_t expert : placed.on[device]) {
      const Costs &own = costs(expert);
      for (size_t step = 0; step < steps; ++step)
        load[device][step] += own[step];
    }
  cost = 0;
  isSlowest.assign(devices, 0);
  for (size_t step = 0; step < steps; ++step) {
    rank(step);
    const double most = load[order[step].front()][step];
    cost += most;
    for (uint32_t device : order[step]) {
      if (load[device][step] < most)
        break;
      isSlowest[device] = 1;
    }
  }
  onSlowest.assign(experts, 0);
  for (uint32_t device = 0; device < devices; ++device)
    for (uint32_t expert : placed.on[device])
      onSlowest[expert] |= isSlowest[device];
}

/// Of the devices that are not touched.
double Descent::othersSlowest(size_t step) const {
  for (uint32_t device : order[step])
    if (!touched[device])
      return load[device][step];
  return 0;
}

/// `coming` goes the other way, where it is given.
double Descent::costOfMoving(uint32_t from, uint32_t to, const Costs &leaving, const Costs *coming) {
  touched[from] = touched[to] = 1;
  double sum = 0;
  for (size_t step = 0; step < steps && sum < cost; ++step) {
    const double change = leaving[step] - (coming ? (*coming)[step] : 0);
    sum += std::max({load[from][step] - change, load[to][step] + change, othersSlowest(step)});
  }
  touched[from] = touched[to] = 0;
  return sum;
}

/// Changes of how many devices share an expert: what the others hold of it changes, too.
double Descent::costOfChanges(std::span<const Change> changes) {
  std::vector<std::pair<uint32_t, Costs>> after; // of the devices that are touched
  const auto of = [&](uint32_t device) -> Costs & {
    for (auto &[known, costs] : after)
      if (known == device)
        return costs;
    touched[device] = 1;
    return after.emplace_back(device, load[device]).second;
  };
  for (const Change &change : changes) {
    const uint32_t now = copies[change.expert], then = change.add ? now + 1 : now - 1;
    const Costs shared = costOf.of(change.expert, then); // copied: asking for another count may move it
    const Costs &before = costOf.of(change.expert, now);
    for (uint32_t device = 0; device < devices; ++device) {
      const bool had = holds(device, change.expert), has = device == change.device ? change.add : had;
      if (!had && !has)
        continue;
      Costs &costs = of(device);
      for (size_t step = 0; step < steps; ++step)
        costs[step] += (has ? shared[step] : 0) - (had ? before[step] : 0);
    }
  }
  double sum = 0;
  for (size_t step = 0; step < steps && sum <= cost; ++step) {
    double most = othersSlowest(step);
    for (const auto &[device, costs] : after)
      most = std::max(most, costs[step]);
    sum += most;
  }
  for (const auto &[device, costs] : after)
    touched[device] = 0;
  return sum;
}

void Descent::apply(std::span<const Change> changes) {
  for (const Change &change : changes) {
    std::vector<uint32_t> &on = placed.on[change.device];
    if (change.add)
      on.push_back(change.expert);
    else
      on.erase(std::find(on.begin(), on.end(), change.expert));
    held[change.device * experts + change.expert] = change.add;
    copies[change.expert] += change.add ? 1 : -1;
  }
  recount();
}

bool Descent::takeIfLower(double found, std::span<const Change> changes) {
  constexpr double leastGain = 1e-9; // of the cost: below it is rounding, which could go round in circles
  if (!std::isfinite(cost) || !(found < cost * (1 - leastGain)))
    return false;
  apply(changes);
  return true;
}

/// The expert in `slot` of device `a` with one of a later device.
bool Descent::exchange(uint32_t a, uint32_t slot) {
  const uint32_t mine = placed.on[a][slot];
  for (uint32_t b = a + 1; b < devices; ++b) {
    if (holds(b, mine) || !(canGain(a) || canGain(b)))
      continue;
    for (uint32_t theirs : placed.on[b]) {
      if (holds(a, theirs))
        continue;
      const Change changes[] = {{a, mine, false}, {b, mine, true}, {b, theirs, false}, {a, theirs, true}};
      if (takeIfLower(costOfMoving(a, b, costs(mine), &costs(theirs)), changes))
        return true;
    }
  }
  return false;
}

bool Descent::move(uint32_t device, uint32_t slot) {
  const uint32_t expert = placed.on[device][slot];
  if (!canGain(device))
    return false;
  for (uint32_t to = 0; to < devices; ++to) {
    if (isFull(to) || holds(to, expert))
      continue;
    const Change changes[] = {{device, expert, false}, {to, expert, true}};
    if (takeIfLower(costOfMoving(device, to, costs(expert), nullptr), changes))
      return true;
  }
  return false;
}

/// A further copy of `expert`, into a free slot or in place of another expert's copy.
bool Descent::copyInto(uint32_t device, uint32_t expert) {
  if (holds(device, expert) || !onSlowest[expert])
    return false;
  if (!isFull(device)) {
    const Change add[] = {{device, expert, true}};
    if (takeIfLower(costOfChanges(add), add))
      return true;
  }
  for (uint32_t other : placed.on[device]) {
    if (copies[other] < 2)
      continue;
    const Change replace[] = {{device, other, false}, {device, expert, true}};
    if (takeIfLower(costOfChanges(replace), replace))
      return true;
  }
  return false;
}

/// A copy without which steps take no longer, in sum.
bool Descent::dropUseless(uint32_t device) {
  for (uint32_t expert : placed.on[device]) {
    if (copies[expert] < 2)
      continue;
    const Change drop[] = {{device, expert, false}};
    if (costOfChanges(drop) <= cost) {
      apply(drop);
      return true;
    }
  }
  return false;
}

bool Descent::sweep() {
  bool better = false;
  for (uint32_t device = 0; device < devices; ++device)
    for (uint32_t slot = 0; slot < placed.on[device].size(); ++slot)
      better |= exchange(device, slot) || move(device, slot);
  return better;
}

bool Descent::sweepCopies() {
  bool better = false;
  for (uint32_t device = 0; device < devices; ++device) {
    while (dropUseless(device))
      better = true;
    for (uint32_t expert = 0; expert < experts; ++expert)
      better |= copyInto(device, expert);
  }
  return better;
}

void Descent::run(bool withCopies) {
  while (sweep() || (withCopies && sweepCopies())) {
  }
}

PlacementSearch Descent::answer() const {
  PlacementSearch found{placed, 0};
  for (std::vector<uint32_t> &on : found.placement.on)
    std::sort(on.begin(), on.end());
  found.cost = sumDevices(found.placement, problem.steps, problem.cost).slowest;
  return found;
}

/// splitmix64: the same numbers on every machine.
uint32_t nextBelow(uint64_t &state, size_t end) {
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return static_cast<uint32_t>((z ^ (z >> 31)) % end);
}

/// Exchanges two experts of two devices somewhere, where that is possible.
void kick(LayerPlacement &placement, uint64_t &state) {
  std::vector<uint32_t> &a = placement.on[nextBelow(state, placement.on.size())];
  std::vector<uint32_t> &b = placement.on[nextBelow(state, placement.on.size())];
  if (&a == &b || a.empty() || b.empty())
    return;
  uint32_t &mine = a[nextBelow(state, a.size())], &theirs = b[nextBelow(state, b.size())];
  if (std::find(a.begin(), a.end(), theirs) == a.end() && std::find(b.begin(), b.end(), mine) == b.end())
    std::swap(mine, theirs);
}

/// Tries of `kicked`: fewer where a descent takes long.
int kicksFor(const PlacementProblem &problem, uint32_t experts) {
  constexpr double mostTries = 20, mostWork = 4e8;
  const double exchanges = double(experts) * experts,
               copied = double(problem.devices) * problem.slotsPerDevice * experts;
  constexpr double copyShare = 8; // a copy is weighed on several devices
  const double work =
      static_cast<double>(problem.steps.size()) * (exchanges + (problem.copies ? copyShare * copied : 0));
  return static_cast<int>(std::min(mostTries, mostWork / work));
}

/// Descends again from near the best, and goes on from there where that is better (iterated local search). On made-up
/// routing of 64 experts 20 tries gained up to 1 % of a step, and 400 of them 0.5 % more.
PlacementSearch kicked(const PlacementProblem &problem, PlacementSearch best) {
  constexpr int exchanges = 2;
  uint64_t state = 1;
  for (int attempt = kicksFor(problem, best.placement.numExperts); attempt > 0; --attempt) {
    LayerPlacement start = best.placement;
    for (int exchange = 0; exchange < exchanges; ++exchange)
      kick(start, state);
    PlacementSearch found = improvedPlacement(problem, start, problem.copies);
    if (found.cost < best.cost)
      best = std::move(found);
  }
  return best;
}

/// Without copies that `sumDevices` has no use for: a descent counts the larger of an expert's shares for all of them.
PlacementSearch withoutUseless(const PlacementProblem &problem, PlacementSearch found) {
  std::vector<uint32_t> copies = found.placement.copies();
  for (size_t device = 0; device < found.placement.on.size(); ++device) {
    const std::vector<uint32_t> held = found.placement.on[device];
    for (uint32_t expert : held) {
      if (copies[expert] < 2)
        continue;
      LayerPlacement without = found.placement;
      std::erase(without.on[device], expert);
      const double cost = sumDevices(without, problem.steps, problem.cost).slowest;
      if (!(cost <= found.cost))
        continue;
      found = {std::move(without), cost};
      --copies[expert];
    }
  }
  return found;
}

/// How many copies each expert gets where all slots are filled: one more, again and again, for the one whose copies
/// have most to do.
std::vector<uint32_t> copiesByLoad(const std::vector<double> &mean, const PlacementProblem &problem) {
  std::vector<uint32_t> copies(mean.size(), 1);
  const uint64_t slots = uint64_t{problem.devices} * problem.slotsPerDevice;
  for (uint64_t filled = mean.size(); filled < slots; ++filled) {
    uint32_t most = UINT32_MAX;
    for (uint32_t expert = 0; expert < mean.size(); ++expert)
      if (copies[expert] < problem.devices &&
          (most == UINT32_MAX || mean[expert] / copies[expert] > mean[most] / copies[most]))
        most = expert;
    if (most == UINT32_MAX)
      break;
    ++copies[most];
  }
  return copies;
}

} // namespace

std::vector<PlacedStep> thinned(const std::vector<PlacedStep> &steps, size_t most) {
  if (steps.size() <= most)
    return steps;
  std::vector<PlacedStep> some;
  uint64_t state = 1;
  for (size_t index = 0; index < most; ++index) {
    const size_t begin = index * steps.size() / most, end = (index + 1) * steps.size() / most;
    PlacedStep step = steps[begin + nextBelow(state, end - begin)];
    step.weight = 0;
    for (size_t other = begin; other < end; ++other)
      step.weight += steps[other].weight;
    some.push_back(std::move(step));
  }
  return some;
}

LayerPlacement greedyPlacement(const PlacementProblem &problem, bool withCopies) {
  const auto experts = static_cast<uint32_t>(problem.steps.front().routing.pairs.size());
  ExpertCosts costs(problem);
  std::vector<double> mean(experts), load(problem.devices);
  for (uint32_t expert = 0; expert < experts; ++expert)
    mean[expert] = sumOf(costs.of(expert, 1));
  const std::vector<uint32_t> copies = withCopies ? copiesByLoad(mean, problem) : std::vector<uint32_t>(experts, 1);
  std::vector<std::pair<double, uint32_t>> items; // each copy
  for (uint32_t expert = 0; expert < experts; ++expert)
    items.insert(items.end(), copies[expert], {mean[expert] / copies[expert], expert});
  std::stable_sort(items.begin(), items.end(), [](const auto &a, const auto &b) { return a.first > b.first; });
  // An expert's first copy always finds a slot: there are as many as copies, and no device holds it yet. A further one
  // may not, and is left out.
  LayerPlacement placement{experts, std::vector<std::vector<uint32_t>>(problem.devices)};
  for (const auto &[share, expert] : items) {
    uint32_t least = UINT32_MAX;
    for (uint32_t device = 0; device < problem.devices; ++device) {
      const std::vector<uint32_t> &on = placement.on[device];
      if (on.size() < problem.slotsPerDevice && std::find(on.begin(), on.end(), expert) == on.end() &&
          (least == UINT32_MAX || load[device] < load[least]))
        least = device;
    }
    if (least == UINT32_MAX)
      continue;
    placement.on[least].push_back(expert);
    load[least] += share;
  }
  for (std::vector<uint32_t> &on : placement.on)
    std::sort(on.begin(), on.end());
  return placement;
}

PlacementSearch improvedPlacement(const PlacementProblem &problem, const LayerPlacement &start, bool copies) {
  Descent descent(problem, start);
  descent.run(copies);
  return descent.answer();
}

std::vector<PlacementSearch> searchPlacement(const PlacementProblem &problem) {
  PlacementProblem pairs = problem;
  pairs.cost = RowCost::ofPairs();
  const auto experts = static_cast<uint32_t>(problem.steps.front().routing.pairs.size());
  const uint32_t fewest = (experts + problem.devices - 1) / problem.devices;
  std::vector<PlacementSearch> found;
  if (problem.copies || problem.slotsPerDevice > fewest) {
    // From the best without slots to spare, so that these cost nothing.
    PlacementProblem tight = problem;
    tight.slotsPerDevice = fewest;
    tight.copies = false;
    found = searchPlacement(tight);
    found.push_back(improvedPlacement(problem, found.front().placement, problem.copies));
  }
  std::vector<LayerPlacement> starts;
  for (const PlacementProblem &by : {problem, pairs})
    starts.push_back(greedyPlacement(by, problem.copies));
  if (!problem.copies)
    starts.push_back(placementByNumber(experts, problem.devices));
  for (const LayerPlacement &start : starts) {
    found.push_back(improvedPlacement(problem, start, problem.copies));
    found.push_back({start, sumDevices(start, problem.steps, problem.cost).slowest});
  }
  const auto cheaper = [](const PlacementSearch &a, const PlacementSearch &b) {
    return a.cost != b.cost ? a.cost < b.cost : a.placement.numCopies() < b.placement.numCopies();
  };
  found.push_back(withoutUseless(problem, kicked(problem, *std::min_element(found.begin(), found.end(), cheaper))));
  std::stable_sort(found.begin(), found.end(), cheaper);
  return found;
}

} // namespace moec
