#include "tools/moec/PlaceSearch.h"

#include <algorithm>

namespace moec::tool {

static uint32_t mostRows(const PlaceLayer &layer) {
  uint32_t most = 1;
  for (const PlacedStep &step : layer.steps)
    most = std::max(most, step.routing.busiest());
  return most;
}

LayerSearch::LayerSearch(const PlaceSizes &sizes, const PlaceInput &input, const PlaceLayer &layer)
    : input(input), layer(layer) {
  problem.devices = sizes.devices;
  problem.slotsPerDevice = sizes.slots ? sizes.slots : (layer.experts + sizes.devices - 1) / sizes.devices;
  problem.copies = uint64_t{sizes.devices} * sizes.slots > layer.experts; // slots that nobody asked for hold none
  if (!layer.shape)
    return;
  // A row goes to its device and comes back, unless its token is there: one token in D is.
  const double bytes = 2.0 * layer.shape->hidden * byteSize(layer.shape->dtype);
  if (sizes.linkGBytes > 0)
    nsPerRow = bytes * (sizes.devices - 1) / sizes.devices / sizes.linkGBytes;
  problem.cost = RowCost::planned(*layer.shape, problem.slotsPerDevice, mostRows(layer), input.facts, input.calibration,
                                  layer.limits)
                     .withRow(nsPerRow);
}

/// One step, which has what each expert gets on average, in pairs.
PlacementProblem LayerSearch::ofMean(const std::vector<PlacedStep> &steps) const {
  std::vector<double> sums(layer.experts);
  for (const PlacedStep &step : steps)
    for (uint32_t expert = 0; expert < layer.experts; ++expert)
      sums[expert] += step.weight * step.routing.pairs[expert];
  // Means are no whole numbers, and only their ratios count: the largest one fills what a count can hold.
  const double largest = *std::max_element(sums.begin(), sums.end());
  const double scale = largest > 0 ? 1e9 / largest : 0;
  PlacementProblem mean = problem;
  mean.cost = RowCost::ofPairs();
  mean.steps = {{Histogram{1, std::vector<uint32_t>(layer.experts)}, 1}};
  for (uint32_t expert = 0; expert < layer.experts; ++expert)
    mean.steps[0].routing.pairs[expert] = static_cast<uint32_t>(sums[expert] * scale + 0.5);
  return mean;
}

LayerPlacement LayerSearch::greedy(const std::vector<PlacedStep> &steps) const {
  return greedyPlacement(ofMean(steps), problem.copies);
}

LayerPlacement LayerSearch::even(const std::vector<PlacedStep> &steps) const {
  return searchPlacement(ofMean(steps)).front().placement;
}

LayerPlacement LayerSearch::searched(const std::vector<PlacedStep> &steps) const {
  constexpr size_t mostJudged = 4;
  PlacementProblem from = problem;
  from.steps = steps;
  std::vector<LayerPlacement> candidates;
  for (PlacementSearch &found : searchPlacement(from))
    if (std::find(candidates.begin(), candidates.end(), found.placement) == candidates.end() &&
        candidates.size() < mostJudged)
      candidates.push_back(std::move(found.placement));
  if (candidates.size() == 1 || !layer.shape) // what the search goes by is then all there is
    return candidates.front();
  const std::vector<PlacedStep> some = thinned(steps, 32); // the planner takes longer than the search
  std::vector<double> slowest;
  for (const LayerPlacement &candidate : candidates)
    slowest.push_back(costOf(candidate, some).slowest);
  return candidates[std::min_element(slowest.begin(), slowest.end()) - slowest.begin()];
}

PlacementPrediction LayerSearch::costOf(const LayerPlacement &placement, const std::vector<PlacedStep> &steps) const {
  return layer.shape
             ? predictDevices(placement, steps, *layer.shape, input.facts, input.calibration, layer.limits, nsPerRow)
             : sumDevices(placement, steps, problem.cost);
}

std::span<const PlaceMethod> placeMethods() {
  using Steps = std::vector<PlacedStep>;
  static constexpr PlaceMethod methods[] = {
      {"number", "by number", [](const LayerSearch &search, const Steps &) { return search.byNumber(); }},
      {"greedy", "mean pairs, greedily", [](const LayerSearch &search, const Steps &s) { return search.greedy(s); }},
      {"even", "mean pairs, evenly", [](const LayerSearch &search, const Steps &s) { return search.even(s); }},
      {"place", "moec place", [](const LayerSearch &search, const Steps &s) { return search.searched(s); }}};
  return methods;
}

} // namespace moec::tool
