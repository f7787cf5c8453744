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

/// At most `most` of these steps, one of each stretch of them, for all that the stretch stands for. Which one is by
/// chance (the same in every run): steps of several kinds come by turns, and every so many-th would be of one kind.
std::vector<PlacedStep> thinned(const std::vector<PlacedStep> &steps, size_t most);

struct PlacementProblem {
  std::vector<PlacedStep> steps; // at least one; all of the same E
  RowCost cost = RowCost::ofPairs();
  uint32_t devices = 1;        // D, at least 1 and at most E
  uint32_t slotsPerDevice = 0; // experts and copies that a device may hold; at least E/D, rounded up
  bool copies = false;         // whether an expert may be on several devices
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

/// Descends from `start` while an exchange of two experts or a move to a free slot lowers the cost, or (`copies`) a
/// copy into a free slot or in place of another copy; then copies without which no step is slower go. A local optimum
/// of these. A copy counts for the largest of an expert's shares there.
PlacementSearch improvedPlacement(const PlacementProblem &problem, const LayerPlacement &start, bool copies);

/// The descents from the greedy placements by cost and by pairs, and from experts by number; these starts themselves;
/// and the best after more descents from near it (iterated local search). Where a device has slots to spare, all this
/// without them first, and again with them from the best of that and from greedy placements that fill them. The
/// cheapest first, by `sumDevices`. The answer does not depend on the machine.
std::vector<PlacementSearch> searchPlacement(const PlacementProblem &problem);

} // namespace moec
