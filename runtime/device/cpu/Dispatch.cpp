#include "runtime/device/cpu/Dispatch.h"

#include <algorithm>

namespace moec {

void countPairs(const RoutedPairs &routed, uint32_t experts, Workspace &space) {
  std::fill(space.pairs, space.pairs + experts, 0u);
  const uint64_t pairs = uint64_t{routed.tokens} * routed.topK;
  for (uint64_t i = 0; i < pairs; ++i)
    if (routed.ids[i] >= 0)
      ++space.pairs[routed.ids[i]];
}

Status checkIds(const RoutedPairs &routed, uint32_t experts) {
  for (uint32_t token = 0; token < routed.tokens; ++token) {
    const int32_t *ids = routed.ids + uint64_t{token} * routed.topK;
    for (uint32_t k = 0; k < routed.topK; ++k) {
      if (ids[k] < -1 || ids[k] >= static_cast<int32_t>(experts))
        return makeError(Code::InvalidArgument, "token {}, choice {}: expert {} of {}", token, k, ids[k], experts);
      // A tile adds its rows to the accumulators at once, so that a token may be there once only.
      if (ids[k] >= 0 && std::find(ids, ids + k, ids[k]) != ids + k)
        return makeError(Code::InvalidArgument, "token {}, choice {}: expert {} is named twice", token, k, ids[k]);
    }
  }
  return {};
}

uint64_t listRows(const RoutedPairs &routed, std::span<const uint32_t> slots, const CoverTable &own,
                  const CoverTable &spill, Workspace &space) {
  const uint32_t experts = static_cast<uint32_t>(slots.size());
  uint64_t spilledPairs = 0;
  uint32_t row = 0;
  for (uint32_t e = 0; e < experts; ++e) {
    const uint32_t pairs = space.pairs[e];
    const bool spills = pairs > slots[e];
    space.spilled[e] = spills;
    spilledPairs += spills ? pairs : 0;
    space.begin[e] = space.fill[e] = row;
    const uint32_t end = row + (spills ? spill : own).covered(pairs);
    for (row += pairs; row < end; ++row) {
      space.rowToken[row] = static_cast<int32_t>(routed.tokens);
      space.rowWeight[row] = 0;
      if (routed.weightOnInput)
        space.inputWeight[row] = 0;
    }
  }
  space.begin[experts] = row;
  for (uint32_t token = 0, i = 0; token < routed.tokens; ++token)
    for (uint32_t k = 0; k < routed.topK; ++k, ++i)
      if (int32_t e = routed.ids[i]; e >= 0) {
        uint32_t at = space.fill[e]++;
        space.rowToken[at] = static_cast<int32_t>(token);
        space.rowWeight[at] = routed.weightOnInput ? 1 : routed.weights[i];
        if (routed.weightOnInput)
          space.inputWeight[at] = routed.weights[i];
      }
  return spilledPairs;
}

} // namespace moec
