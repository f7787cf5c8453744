// The placement search: which device holds which experts, so that steps wait least for their slowest device.
//
// What is minimised is the mean, over real steps, of the slowest device's cost: not of the experts' mean loads. Experts
// that are busy in the same steps then go apart by themselves (Huang et al., arXiv 2303.06182, add a correlation for
// that; MoETuner's ILP, arXiv 2502.06643, balances mean loads), and where weights decide and not rows, experts that are
// hit are counted rather than tokens.
#pragma once

#include "compiler/core/PlacementCost.h"

#include <vector>

namespace moec {

struct PlacementProblem {
  std::vector<PlacedStep> steps; // at least one; all of the same E
  RowCost cost = RowCost::ofPairs();
  uint32_t devices = 1;        // D, at least 1 and at most E
  uint32_t slotsPerDevice = 0; // experts and copies that a device may hold; at least E/D, rounded up
};

/// What a search costs and came to.
struct PlacementSearch {
  LayerPlacement placement;
  double cost = 0; // sumDevices(...).slowest
};

/// Greedy: experts by falling mean cost, each to the device that has least so far and a free slot (Huang et al.). With
/// `copies` the experts whose copies have most to do are copied before, until all slots are filled (as DeepSeek's
/// EPLB).
LayerPlacement greedyPlacement(const PlacementProblem &problem, bool copies);

/// Descends from `start` while an exchange of two experts, a move to a free slot, or (`copies`) a copy into a free slot
/// or in place of another copy lowers the cost. A local optimum: no single such step betters it.
PlacementSearch improvedPlacement(const PlacementProblem &problem, const LayerPlacement &start, bool copies);

/// The descents from the greedy placements by cost and by pairs, and from experts by number, with copies where the
/// problem has slots for them; and these three themselves. The cheapest first.
std::vector<PlacementSearch> searchPlacement(const PlacementProblem &problem);

} // namespace moec
