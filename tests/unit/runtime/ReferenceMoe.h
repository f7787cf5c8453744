// What an MoE layer computes, written plainly in float64: nothing is shared with the runtime.
#pragma once

#include "tests/unit/runtime/Fakes.h"

#include <cstdint>
#include <vector>

namespace moec::test {

struct ReferenceRouting {
  std::vector<int32_t> ids;    // [T, K]
  std::vector<double> weights; // [T, K]
};

/// hidden [T, H]; a row with a NaN has logits that are all NaN.
ReferenceRouting referenceRoute(const LayerDescription &layer, const MadeUpWeights &weights,
                                const std::vector<float> &hidden);

/// output [T, H] for given routing; shared expert included.
std::vector<double> referenceMoe(const LayerDescription &layer, const MadeUpWeights &weights,
                                 const std::vector<float> &hidden, const ReferenceRouting &routing);

/// sqrt(sum (a - b)^2 / sum b^2); infinite if `a` has a NaN.
double relativeError(const std::vector<float> &a, const std::vector<double> &b);

} // namespace moec::test
