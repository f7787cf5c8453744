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
  double weights = 0;
  for (const PlacedStep &step : steps) {
    weights += step.weight;
    for (uint32_t expert = 0; expert < layer.experts; ++expert)
      sums[expert] += step.weight * step.routing.pairs[expert];
  }
  constexpr double parts = 1024; // of a pair: means are no whole numbers, and only their ratios count
  PlacementProblem mean = problem;
  mean.cost = RowCost::ofPairs();
  mean.steps = {{Histogram{1, std::vector<uint32_t>(layer.experts)}, 1}};
  for (uint32_t expert = 0; expert < layer.experts; ++expert)
    mean.steps[0].routing.pairs[expert] = static_cast<uint32_t>(std::min(sums[expert] / weights * parts + 0.5, 4e9));
  return mean;
}

LayerPlacement LayerSearch::greedy(const std::vector<PlacedStep> &steps) const {
  return greedyPlacement(ofMean(steps), uint64_t{problem.devices} * problem.slotsPerDevice > layer.experts);
}

LayerPlacement LayerSearch::even(const std::vector<PlacedStep> &steps) const {
  return searchPlacement(ofMean(steps)).front().placement;
}

LayerPlacement LayerSearch::searched(const std::vector<PlacedStep> &steps) const {
  PlacementProblem from = problem;
  from.steps = steps;
  const std::vector<PlacementSearch> found = searchPlacement(from);
  std::vector<double> slowest;
  for (const PlacementSearch &each : found)
    slowest.push_back(costOf(each.placement, steps).slowest);
  return found[std::min_element(slowest.begin(), slowest.end()) - slowest.begin()].placement;
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
