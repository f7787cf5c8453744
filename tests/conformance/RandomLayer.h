// Random MoE layers, and what the float64 reference says of them.
#pragma once

#include "compiler/import/ModelSpec.h"
#include "ir/reference/Ops.h"
#include "runtime/weights/WeightSource.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moec::conformance {

/// One case: a layer, its weights, its input and how a session is opened for it. A function of the seed alone.
struct RandomLayer {
  importer::ModelSpec spec;
  std::string text;    // the model description
  std::string weights; // as openWeights takes it
  uint32_t tokens = 0;
  uint32_t plannedTokens = 1; // small: most experts overflow their slots
  std::string packBudget;
  std::optional<uint32_t> onlyExpert; // caller's routing: all pairs of rank 0 to this expert
  bool callerRoutes = false;
  double padding = 0;             // share of the caller's pairs that are -1
  reference::Tensor hidden;       // [T, H], representable in the layer's dtype
  reference::IdTensor ids;        // [T, K], where the caller routes
  reference::Tensor routeWeights; // [T, K]

  std::string describe() const;
};

RandomLayer makeLayer(uint64_t seed);

/// The layer's output [T, H] in float64, and the smallest distance, over tokens, between the score of the last expert
/// chosen and the first one not chosen, relative to the largest score: below some 1e-6 the choice is rounding's.
struct Expected {
  reference::Tensor output;
  std::vector<double> margin; // [T]
};
/// Whose rows the target quantises before each product (docs/gpu-kernels.md).
struct Quantised {
  bool routed = false, shared = false;
};
Result<Expected> expectedOf(const RandomLayer &layer, const WeightSource &weights, Quantised quantised);

} // namespace moec::conformance
