// Other sets of tile heights than the chosen one: what the planner weighed, cheapest first.
#pragma once

#include "compiler/core/Plan.h"

#include <cstdint>
#include <vector>

namespace moec::tool {

/// Another set of tile heights, with the table that suits it.
struct Alternative {
  std::vector<uint16_t> tileRows;
  double predictedNs = 0;
  double computeNs = 0; // of the tiles alone; decides where predictions are equal
};

/// The cheapest `most` other sets of heights for a layer, out of all that planLayer chooses from: those with as many
/// heights as the limits allow, the tallest and the lowest candidate among them, and not all of the chosen ones. Each
/// is given the table planned for it, so the costs compare what would really have been built.
std::vector<Alternative> runnersUp(const LayerShape &shape, const Histogram &histogram, const CpuConfig &chosen,
                                   const TargetFacts &facts, const Calibration &calibration, const PlanLimits &limits,
                                   size_t most);

/// How many sets of heights planLayer chooses from.
size_t numHeightSets(const TargetFacts &facts, const Calibration &calibration, const PlanLimits &limits);

} // namespace moec::tool
