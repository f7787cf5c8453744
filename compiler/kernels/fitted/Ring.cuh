// Stages of shared memory that a block of groupedGemmFitted fills and empties.
#pragma once

#include "compiler/kernels/tile/Ring.cuh"

namespace moec {

/// Two-byte elements. Token rows that do not lie by slot are gathered by three warps (Gatherer.cuh).
template <GemmConfig C> struct FittedRing : tile::Ring<C, 2, gathersTokens(C) ? 3 : 0> {
  static constexpr bool gathers = gathersTokens(C);
  static_assert(C.swapAB && FittedRing::bytes == stageBytes(C));
};

} // namespace moec
