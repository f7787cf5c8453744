// Stages of shared memory that a block of groupedGemmFitted fills and empties.
#pragma once

#include "compiler/kernels/tile/Ring.cuh"

namespace moec {

/// Warps that bring token rows which do not lie by slot: they copy them (RowCopier.cuh) or have the copy engine fetch
/// them (RowFetcher.cuh).
constexpr uint32_t gatheringWarps(const GemmConfig &c) { return gathersTokens(c) ? 3 : 0; }
constexpr uint32_t gatheringThreads(const GemmConfig &c) { return gatheringWarps(c) * (fetchesRows(c) ? 1 : 32); }

/// Two-byte elements.
template <GemmConfig C> struct FittedRing : tile::Ring<C, 2, gatheringWarps(C), gatheringThreads(C)> {
  static constexpr bool followsDispatch = gathersTokens(C), takesBoxes = !gathersTokens(C); // as rows lie
  /// Narrow tiles end so often that saying so costs gate-up more than down saves, likewise those of e4m3
  /// (docs/performance-log.md).
  static constexpr bool overlaps = isWide(C.tileTokens);
  /// So blocks of down wait for the whole of gate-up, but have filled their rings with weights by then. Wide tiles
  /// lose by that: what down brings comes at the cost of gate-up's last tiles.
  static constexpr bool beginsNext = FittedRing::gated && !overlaps;
  static constexpr bool fetches = fetchesRows(C), copies = gathersTokens(C) && !fetches;
  static_assert(C.swapAB && FittedRing::bytes == stageBytes(C));
};

} // namespace moec
