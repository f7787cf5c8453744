#include "compiler/core/Plan.h"

#include "compiler/core/PlanCost.h"
#include "compiler/core/PlanCuda.h"
#include "compiler/core/TileCover.h"
#include "compiler/core/TileSearch.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace moec {

namespace {

/// A histogram of another number of experts is a caller's mistake, but it must not read past an
/// end.
uint32_t pairsOf(const Histogram &histogram, uint32_t expert) {
  return expert < histogram.pairs.size() ? histogram.pairs[expert] : 0;
}

/// Cost of one expert; an idle one costs nothing.
double expertNs(uint32_t pairs, bool packed, const TileCosts &tiles, const LayerCost &cost) {
  return pairs == 0 ? 0 : cost.expertNs(tiles.nsPerStep(pairs), packed);
}

uint64_t roundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// ceil(pairs * headroom) without libm; a headroom that is no positive number counts as 1.
uint64_t withHeadroom(uint32_t pairs, double headroom) {
  if (!(headroom > 0))
    return pairs;
  double wanted = pairs * headroom;
  constexpr double most = 4294967295.0;
  if (wanted >= most)
    return UINT32_MAX;
  auto whole = static_cast<uint64_t>(wanted);
  return whole + (static_cast<double>(whole) < wanted);
}

uint32_t slotsFor(uint32_t pairs, uint32_t tokens, const PlanLimits &limits) {
  uint64_t align = std::max(1u, limits.slotAlign);
  // No expert can have more pairs than the step has tokens.
  uint64_t most = std::max(align, roundUp(tokens, align));
  uint64_t slots = roundUp(std::max<uint64_t>(1, withHeadroom(pairs, limits.slotHeadroom)), align);
  return static_cast<uint32_t>(std::min<uint64_t>(std::min(slots, most), UINT32_MAX / align * align));
}

/// Which experts to keep packed: those that save most, as long as the budget lasts (all have the
/// same bytes). Experts that save the same are taken by pairs, since the busier one is the surer to
/// be hit in the next step, then by number; so idle ones come last. One that would be slower packed
/// (f16 as stored is half the bytes) is not packed.
std::vector<uint8_t> choosePacked(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                                  const PlanLimits &limits, const TileCosts &tiles, const LayerCost &cost) {
  struct Candidate {
    double savedNs;
    uint32_t pairs, expert;
  };
  std::vector<Candidate> candidates;
  for (uint32_t expert = 0; expert < shape.experts; ++expert) {
    uint32_t pairs = pairsOf(histogram, expert);
    double savedNs = pairs == 0 ? 0 : cost.expertSavedNs(tiles.nsPerStep(pairs));
    if (savedNs >= 0)
      candidates.push_back({savedNs, pairs, expert});
  }
  std::sort(candidates.begin(), candidates.end(), [](const auto &a, const auto &b) {
    return std::tuple(-a.savedNs, b.pairs, a.expert) < std::tuple(-b.savedNs, a.pairs, b.expert);
  });

  uint64_t bytes = std::max<uint64_t>(1, packedExpertBytes(shape, facts));
  size_t affordable = static_cast<size_t>(std::min<uint64_t>(limits.packBudgetBytes / bytes, candidates.size()));
  std::vector<uint8_t> packed(shape.experts, 0);
  for (size_t index = 0; index < affordable; ++index)
    packed[candidates[index].expert] = 1;
  return packed;
}

/// Experts by falling cost, equal ones by number.
std::vector<uint16_t> costliestFirst(const Histogram &histogram, const std::vector<uint8_t> &packed,
                                     const TileCosts &tiles, const LayerCost &cost) {
  std::vector<double> ns(packed.size());
  for (uint32_t expert = 0; expert < ns.size(); ++expert)
    ns[expert] = expertNs(pairsOf(histogram, expert), packed[expert], tiles, cost);
  std::vector<uint16_t> order(ns.size());
  std::iota(order.begin(), order.end(), uint16_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return std::tuple(-ns[a], a) < std::tuple(-ns[b], b); });
  return order;
}

/// Experts with pairs, those that cost the same together.
std::vector<ExpertGroup> groupExperts(const Histogram &histogram, const std::vector<uint8_t> &packed) {
  std::vector<ExpertGroup> groups;
  for (uint32_t expert = 0; expert < packed.size(); ++expert)
    if (uint32_t pairs = pairsOf(histogram, expert))
      groups.push_back({pairs, packed[expert] != 0, 1});
  auto key = [](const ExpertGroup &group) { return uint64_t{group.pairs} * 2 + group.packed; };
  std::sort(groups.begin(), groups.end(), [&](const auto &a, const auto &b) { return key(a) < key(b); });
  size_t last = 0;
  for (size_t index = 1; index < groups.size(); ++index) {
    if (key(groups[index]) == key(groups[last]))
      ++groups[last].experts;
    else
      groups[++last] = groups[index];
  }
  groups.resize(groups.empty() ? 0 : last + 1);
  return groups;
}

constexpr uint32_t spreadScale = 10000;

/// How many of `spreadScale` experts have how many pairs, where each token picks its experts alike:
/// the binomial distribution, from its mode outwards, so that no libm is needed and nothing
/// overflows. Even routing is not equal counts, and tile heights have to cover the spread.
std::vector<ExpertGroup> uniformSpread(const LayerShape &shape, uint32_t tokens) {
  if (shape.topK >= shape.experts)
    return {{tokens, true, spreadScale}};
  const double share = static_cast<double>(shape.topK) / shape.experts;
  const double odds = share / (1 - share);
  const auto mode = std::min(tokens, static_cast<uint32_t>((tokens + 1.0) * share));
  constexpr double negligible = 1e-3; // of the mode's chance
  std::vector<std::pair<uint32_t, double>> chances = {{mode, 1.0}};
  double chance = 1;
  for (uint32_t n = mode; n < tokens && chance > negligible; ++n)
    chances.push_back({n + 1, chance *= odds * (tokens - n) / (n + 1.0)});
  chance = 1;
  for (uint32_t n = mode; n > 0 && chance > negligible; --n)
    chances.push_back({n - 1, chance *= n / (odds * (tokens - n + 1.0))});
  double sum = 0;
  for (const auto &[pairs, weight] : chances)
    sum += weight;
  std::vector<ExpertGroup> groups;
  for (const auto &[pairs, weight] : chances)
    if (auto experts = static_cast<uint32_t>(weight / sum * spreadScale); pairs > 0 && experts > 0)
      groups.push_back({pairs, true, experts});
  return groups;
}

} // namespace

LayerPlan planTable(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                    const Calibration &calibration, const PlanLimits &limits, const LayerConfig &config) {
  if (facts.device == DeviceKind::Cuda)
    return planCudaTable(shape, histogram, facts, calibration, limits, config.cuda);
  LayerCost cost(shape, facts, calibration);
  TileCosts tiles(config.cpu.tileRows, calibration);
  LayerPlan plan{.config = config, .table = {}, .predictedNs = 0};
  for (uint32_t expert = 0; expert < shape.experts; ++expert)
    plan.table.slots.push_back(slotsFor(pairsOf(histogram, expert), histogram.tokens, limits));
  plan.table.packed = choosePacked(shape, histogram, facts, limits, tiles, cost);
  plan.table.order = costliestFirst(histogram, plan.table.packed, tiles, cost);
  plan.predictedNs = predictLayer(shape, plan, config, histogram, facts, calibration);
  return plan;
}

LayerPlan planLayer(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                    const Calibration &calibration, const PlanLimits &limits) {
  if (facts.device == DeviceKind::Cuda)
    return planCudaLayer(shape, histogram, facts, calibration, limits);
  LayerCost cost(shape, facts, calibration);
  std::vector<uint16_t> candidates = candidateHeights(facts, calibration);
  // Heights and packing depend on each other only where compute and memory take about equally long.
  // So packing is chosen for all candidate heights first, and once more, by planTable, for those
  // that were picked.
  std::vector<uint8_t> packed = choosePacked(shape, histogram, facts, limits, TileCosts(candidates, calibration), cost);
  CpuConfig config{.isa = facts.isa, .compute = computeDType(shape), .tileRows = {}};
  config.tileRows = searchHeights(candidates, limits.maxTileHeights, groupExperts(histogram, packed), histogram.tokens,
                                  cost, calibration);
  return planTable(shape, histogram, facts, calibration, limits, config);
}

LayerPlan planGenericLayer(const LayerShape &shape, uint32_t tokens, const TargetFacts &facts,
                           const Calibration &calibration, const PlanLimits &limits) {
  if (facts.device == DeviceKind::Cuda)
    return planCudaGeneric(shape, tokens, facts, calibration, limits);
  std::vector<uint16_t> candidates = candidateHeights(facts, calibration);
  std::vector<ExpertGroup> groups = uniformSpread(shape, tokens);
  // Other loads will come too, and spills run on these heights: a little of every count. Not beyond
  // the tallest tile: where memory hides the compute of all other counts, those few would decide.
  for (uint32_t pairs = 1; pairs <= candidates.front(); ++pairs)
    groups.push_back({pairs, true, spreadScale / 1000});
  LayerCost cost(shape, facts, calibration);
  CpuConfig config{.isa = facts.isa, .compute = computeDType(shape), .tileRows = {}};
  config.tileRows = searchHeights(candidates, limits.maxTileHeights, groups, tokens, cost, calibration);
  Histogram uniform = Histogram::uniform(tokens, shape.topK, shape.experts);
  return planTable(shape, uniform, facts, calibration, limits, config);
}

double predictLayer(const LayerShape &shape, const LayerPlan &plan, const LayerConfig &spill,
                    const Histogram &histogram, const TargetFacts &facts, const Calibration &calibration) {
  if (facts.device == DeviceKind::Cuda)
    return predictCudaLayer(shape, plan.config.cuda, histogram, facts, calibration);
  LayerCost cost(shape, facts, calibration);
  TileCosts planned(plan.config.cpu.tileRows, calibration);
  TileCosts spilled(spill.cpu.tileRows, calibration);
  double ns = cost.fixedNs(histogram.tokens, histogram.total());
  if (histogram.tokens > 0)
    ns += cost.tokensNs(planned.nsPerStep(histogram.tokens));
  for (uint32_t expert = 0; expert < histogram.pairs.size(); ++expert) {
    uint32_t pairs = histogram.pairs[expert];
    bool fits = expert < plan.table.slots.size() && pairs <= plan.table.slots[expert];
    bool packed = expert < plan.table.packed.size() && plan.table.packed[expert] != 0;
    ns += expertNs(pairs, packed, fits ? planned : spilled, cost);
  }
  return ns;
}

} // namespace moec
