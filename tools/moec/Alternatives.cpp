#include "tools/moec/Alternatives.h"

#include "compiler/core/PlanCost.h"
#include "compiler/core/TileCover.h"
#include "compiler/core/TileSearch.h"

#include <algorithm>
#include <functional>
#include <tuple>

namespace moec::tool {
namespace {

/// Calls `visit` with every set of `size` heights out of `candidates` (descending) that has the first and the last.
template <typename Visit> void forEachSet(const std::vector<uint16_t> &candidates, size_t size, Visit visit) {
  size = std::min(size, candidates.size());
  if (size < 2)
    return visit(std::vector<uint16_t>{candidates.front()});
  // Which of the candidates between the two ends are taken; permutations of a sorted mask are all its combinations.
  std::vector<bool> taken(candidates.size() - 2, false);
  std::fill(taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(size - 2), true);
  do {
    std::vector<uint16_t> heights{candidates.front()};
    for (size_t i = 0; i < taken.size(); ++i)
      if (taken[i])
        heights.push_back(candidates[i + 1]);
    heights.push_back(candidates.back());
    visit(heights);
  } while (std::prev_permutation(taken.begin(), taken.end()));
}

/// Nanoseconds that the tiles of all experts compute: what is left to tell sets apart whose memory time hides it.
double computeNs(const LayerShape &shape, const Histogram &histogram, const std::vector<uint16_t> &heights,
                 const TargetFacts &facts, const Calibration &calibration) {
  const LayerCost cost(shape, facts, calibration);
  const TileCosts tiles(heights, calibration);
  double ns = 0;
  for (uint32_t pairs : histogram.pairs)
    ns += cost.expertComputeNs(tiles.nsPerStep(pairs));
  return ns;
}

} // namespace

std::vector<Alternative> runnersUp(const LayerShape &shape, const Histogram &histogram, const CpuConfig &chosen,
                                   const TargetFacts &facts, const Calibration &calibration, const PlanLimits &limits,
                                   size_t most) {
  std::vector<Alternative> others;
  forEachSet(candidateHeights(facts, calibration), limits.maxTileHeights, [&](const std::vector<uint16_t> &heights) {
    // The chosen heights and some more are no alternative: planLayer left out what gains nothing.
    if (std::includes(heights.begin(), heights.end(), chosen.tileRows.begin(), chosen.tileRows.end(), std::greater<>()))
      return;
    CpuConfig config = chosen;
    config.tileRows = heights;
    others.push_back({heights, planTable(shape, histogram, facts, calibration, limits, config).predictedNs,
                      computeNs(shape, histogram, heights, facts, calibration)});
  });
  std::sort(others.begin(), others.end(), [](const auto &a, const auto &b) {
    // Ties as the planner breaks them: less compute, then taller tiles first.
    return std::tuple(a.predictedNs, a.computeNs, b.tileRows) < std::tuple(b.predictedNs, b.computeNs, a.tileRows);
  });
  others.resize(std::min(others.size(), most));
  return others;
}

size_t numHeightSets(const TargetFacts &facts, const Calibration &calibration, const PlanLimits &limits) {
  size_t sets = 0;
  forEachSet(candidateHeights(facts, calibration), limits.maxTileHeights,
             [&](const std::vector<uint16_t> &) { ++sets; });
  return sets;
}

} // namespace moec::tool
