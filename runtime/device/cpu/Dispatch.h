// Which rows each expert computes: counting, placing and listing a step's pairs.
#pragma once

#include "runtime/device/cpu/CoverTable.h"
#include "runtime/device/cpu/Workspace.h"

#include "compiler/core/Status.h"

#include <span>

namespace moec {

/// A step's pairs by token and choice.
struct RoutedPairs {
  const int32_t *ids = nullptr;   // [tokens, topK]; -1 is padding
  const float *weights = nullptr; // [tokens, topK]
  uint32_t tokens = 0, topK = 0;
  bool weightOnInput = false; // of the experts: their outputs are added as they are
};

/// Counts the pairs of each expert into `space.pairs` [E].
void countPairs(const RoutedPairs &routed, uint32_t experts, Workspace &space);

/// Checks ids that a caller brought: each is -1 or an expert's number, and no token names an expert twice.
/// Errors: InvalidArgument, naming token, choice and id.
Status checkIds(const RoutedPairs &routed, uint32_t experts);

/// Places every expert's region and lists its rows in token order, from the counts in `space.pairs`.
///
/// An expert with more pairs than `slots[e]` spills: all its pairs are computed by generation 0's kernels, whose
/// tiles are those of `spill`; all others' are those of `own`. Rows that a last tile overhangs name the dummy
/// accumulator row (number `tokens`) and weigh nothing.
///
/// Returns the number of pairs that spilled.
uint64_t listRows(const RoutedPairs &routed, std::span<const uint32_t> slots, const CoverTable &own,
                  const CoverTable &spill, Workspace &space);

} // namespace moec
