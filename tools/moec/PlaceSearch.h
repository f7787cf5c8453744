// The ways to place a layer's experts that `moec place` compares.
#pragma once

#include "compiler/core/PlacementSearch.h"
#include "tools/moec/PlaceInput.h"

#include <span>
#include <string>
#include <vector>

namespace moec::tool {

/// What is wanted of each layer.
struct PlaceSizes {
  uint32_t devices = 1;
  uint32_t slots = 0;    // experts and copies of a device; 0: as few as hold all
  double linkGBytes = 0; // per second, of rows that a device exchanges; 0: not counted
};

/// A layer, and how its placements are found and judged.
class LayerSearch {
public:
  LayerSearch(const PlaceSizes &sizes, const PlaceInput &input, const PlaceLayer &layer);

  LayerPlacement byNumber() const { return placementByNumber(layer.experts, problem.devices); }
  /// Mean pairs, greedily.
  LayerPlacement greedy(const std::vector<PlacedStep> &steps) const;
  /// Mean pairs, as even as this search makes them: what MoETuner's first ILP asks for.
  LayerPlacement even(const std::vector<PlacedStep> &steps) const;
  /// Of the four cheapest that the search finds, by a sum over experts, the one that the planner says is quickest.
  LayerPlacement searched(const std::vector<PlacedStep> &steps) const;

  /// By the planner; in pairs where no shape is known.
  PlacementPrediction costOf(const LayerPlacement &placement, const std::vector<PlacedStep> &steps) const;

private:
  PlacementProblem ofMean(const std::vector<PlacedStep> &steps) const;

  const PlaceInput &input;
  const PlaceLayer &layer;
  PlacementProblem problem; // without steps
  double nsPerRow = 0;
};

struct PlaceMethod {
  const char *kind; // as --method and JSON have it
  const char *name;
  LayerPlacement (*find)(const LayerSearch &search, const std::vector<PlacedStep> &steps);
};
/// The last is moec's own.
std::span<const PlaceMethod> placeMethods();

} // namespace moec::tool
