#include "compiler/core/PlacementCost.h"

#include <algorithm>
#include <functional>

namespace moec {

namespace {

/// 1, 2, 3, 4, 6, 8, 12, ... and `most` itself: costs bend where a tile is full, ever less as rows grow.
std::vector<uint32_t> rowGrid(uint32_t most) {
  std::vector<uint32_t> grid;
  for (uint64_t power = 1; power < most; power *= 2) {
    grid.push_back(static_cast<uint32_t>(power));
    if (power > 1 && power / 2 * 3 < most)
      grid.push_back(static_cast<uint32_t>(power / 2 * 3));
  }
  grid.push_back(std::max(1u, most));
  return grid;
}

/// A step of the whole layer in which each of its experts has `rows` rows, as a device with `experts` of them sees it;
/// `idle`: with none of these.
Histogram evenStep(const LayerShape &shape, uint32_t experts, uint32_t rows, bool idle) {
  const uint64_t tokens = (uint64_t{rows} * shape.experts + shape.topK - 1) / std::max(1u, shape.topK);
  return {static_cast<uint32_t>(std::min<uint64_t>(tokens, UINT32_MAX)),
          std::vector<uint32_t>(experts, idle ? 0 : rows)};
}

PlacementPrediction predict(const LayerPlacement &placement, const std::vector<PlacedStep> &steps,
                            const std::function<double(const Histogram &)> &cost) {
  PlacementPrediction sum;
  double weights = 0;
  for (const PlacedStep &step : steps) {
    double slowest = 0, all = 0;
    for (const Histogram &local : placement.onDevices(step.routing)) {
      const double ns = cost(local);
      slowest = std::max(slowest, ns);
      all += ns;
    }
    sum.slowest += step.weight * slowest;
    sum.mean += step.weight * all / static_cast<double>(std::max<size_t>(1, placement.on.size()));
    weights += step.weight;
  }
  if (weights > 0) {
    sum.slowest /= weights;
    sum.mean /= weights;
  }
  return sum;
}

} // namespace

RowCost RowCost::ofPairs() {
  RowCost cost;
  cost.rows = {1};
  cost.ns = {1};
  return cost;
}

RowCost RowCost::planned(const LayerShape &shape, uint32_t experts, uint32_t mostRows, const TargetFacts &facts,
                         const Calibration &calibration, const PlanLimits &limits) {
  const LayerShape local = shapeOnDevice(shape, experts);
  const auto ns = [&](uint32_t rows, bool idle) {
    return planLayer(local, evenStep(shape, experts, rows, idle), facts, calibration, limits).predictedNs;
  };
  RowCost cost;
  double highest = 0;
  for (uint32_t rows : rowGrid(mostRows)) {
    highest = std::max(highest, (ns(rows, false) - ns(rows, true)) / experts);
    cost.rows.push_back(rows);
    cost.ns.push_back(highest);
  }
  return cost;
}

RowCost RowCost::withRow(double more) const {
  RowCost cost = *this;
  for (size_t point = 0; point < cost.rows.size(); ++point)
    cost.ns[point] += more * cost.rows[point];
  return cost;
}

double RowCost::at(double wanted) const {
  if (!(wanted > 0))
    return 0;                                     // whatever a row costs
  if (wanted <= rows.front() || rows.size() == 1) // fewer than one: of some steps
    return ns.front() / rows.front() * wanted;
  const auto found = std::lower_bound(rows.begin(), rows.end(), wanted);
  const size_t right = std::min<size_t>(rows.size() - 1, found - rows.begin());
  const double slope = (ns[right] - ns[right - 1]) / (rows[right] - rows[right - 1]);
  return ns[right] + slope * (wanted - rows[right]);
}

LayerShape shapeOnDevice(const LayerShape &shape, uint32_t experts) {
  LayerShape local = shape;
  local.experts = experts;
  local.topK = std::min(shape.topK, experts);
  local.sharedIntermediate = 0;
  local.sharedGate = local.sharedAlike = false;
  return local;
}

PlacementPrediction predictDevices(const LayerPlacement &placement, const std::vector<PlacedStep> &steps,
                                   const LayerShape &shape, const TargetFacts &facts, const Calibration &calibration,
                                   const PlanLimits &limits, double nsPerRow) {
  return predict(placement, steps, [&](const Histogram &local) {
    const LayerShape here = shapeOnDevice(shape, static_cast<uint32_t>(local.pairs.size()));
    return planLayer(here, local, facts, calibration, limits).predictedNs +
           nsPerRow * static_cast<double>(local.total());
  });
}

PlacementPrediction sumDevices(const LayerPlacement &placement, const std::vector<PlacedStep> &steps,
                               const RowCost &cost) {
  return predict(placement, steps, [&](const Histogram &local) {
    double sum = 0;
    for (uint32_t pairs : local.pairs)
      sum += cost.at(pairs);
    return sum;
  });
}

} // namespace moec
