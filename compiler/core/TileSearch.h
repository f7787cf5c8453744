// Which tile heights a layer's kernels should have for a histogram.
#pragma once

#include "compiler/core/Histogram.h"
#include "compiler/core/PlanCost.h"

#include <cstdint>
#include <span>
#include <vector>

namespace moec {

/// Experts that cost the same: so many pairs, packed or not.
struct ExpertGroup {
  uint32_t pairs = 0;
  bool packed = true;
  uint32_t experts = 0; // how many
};

/// The heights a tile may have: 1 to the target's tallest, as far as the calibration knows them (a
/// time of 0 was not measured). All of them if it knows none. Descending.
std::vector<uint16_t> candidateHeights(const TargetFacts &facts, const Calibration &calibration);

/// The heights that cost least for these groups and `tokens` tokens, at most `maxHeights` (at least
/// 1) of `candidates` (descending). The tallest is always among them, and, where two or more are
/// allowed, the lowest: counts that the histogram does not have are to be served decently too. Ties
/// go to less compute, since what memory hides today is what another histogram will pay; then to
/// the set that comes first with taller tiles first. A height between the two that gains nothing is
/// left out.
///
/// The search is exhaustive: more heights never cost more, so only sets of the full size are looked
/// at, which for 14 candidates are at most C(12, 6) = 924, and 220 at the default of 5 heights.
/// Each costs a table of 112 rows and a sum over the groups, some 3 us in all.
std::vector<uint16_t> searchHeights(std::span<const uint16_t> candidates, uint32_t maxHeights,
                                    std::span<const ExpertGroup> groups, uint32_t tokens, const LayerCost &cost,
                                    const Calibration &calibration);

} // namespace moec
