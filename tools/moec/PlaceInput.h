// What `moec place` reads: the steps to place for, and what is known of layers and devices.
#pragma once

#include "compiler/core/PlacementCost.h"
#include "tools/moec/Setup.h"

#include <optional>
#include <string>
#include <vector>

namespace moec::tool {

struct PlaceSource {
  std::string trace, profile;             // one of them
  std::string model, target, calibration; // with a profile; the target's default is "cpu"
  uint32_t threads = 0;
  CacheOptions cache;
};

/// One layer to be placed.
struct PlaceLayer {
  uint32_t layer = 0;
  uint32_t experts = 0;
  std::optional<LayerShape> shape; // none: only pairs are known
  PlanLimits limits;
  std::vector<PlacedStep> steps;  // all
  std::vector<PlacedStep> first;  // of the first half, by time; as `steps` where nothing can be held back
  std::vector<PlacedStep> second; // of the second
};

struct PlaceInput {
  std::vector<PlaceLayer> layers;
  bool heldBack = false; // `second` has nothing of `first`
  TargetFacts facts;     // of each device; where shapes are known
  Calibration calibration;
  std::string figures; // where the calibration is from
};

/// Errors: those of reading the files; InvalidArgument (a trace without counts; layers that model and profile do not
/// share; an unknown target).
Result<PlaceInput> readPlaceInput(const PlaceSource &source, const Tool &tool);

} // namespace moec::tool
