// Stages of shared memory that a block of groupedGemmFp8 fills and empties.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/tile/Ring.cuh"

namespace moec {

/// Warps that bring a stage's scales (ScaleLoader.cuh), or its rows with them (RowQuantiser.cuh).
constexpr uint32_t fp8LoadingWarps(const GemmConfig &c) { return c.quantises ? kQuantisingWarps : 1; }

/// One-byte elements and, behind all stages, their scales, which a warp brings.
template <GemmConfig C> struct Fp8Ring : tile::Ring<C, 1, fp8LoadingWarps(C), 32, givesQuantised(C) ? 1 : 2> {
  static constexpr bool takesBoxes = !C.quantises, fetches = false;
  static constexpr bool followsDispatch = C.quantises && Fp8Ring::gated; // else quantise or gate-up lies between
  /// Where gate-up's rows are quantised, down is the launch behind it. Its weights come at the cost of gate-up's, so
  /// steps of few tiles would lose by that, as do wide tiles (docs/performance-log.md).
  static constexpr bool beginsNext = givesQuantised(C) && !isWide(C.tileTokens);
  static constexpr uint32_t leastRounds = 2;
  static constexpr uint32_t scaleBytes = fp8ScaleFloats(C) * 4;
  // Gate-up: 128 columns of gate and up at most, so that one scale of each serves the tile. Down: two.
  static_assert(C.tileWeights >= 64 && C.tileWeights <= 256 && !C.biased && !C.weighted);
  static_assert(Fp8Ring::spanElements == kFp8Block && Fp8Ring::bytes == fp8StageBytes(C));

  /// The token rows' scales; the weights' two lie behind.
  __device__ uint32_t scales(uint32_t span) const {
    return this->at(C.stages) + (this->stage * Fp8Ring::spans + span) * scaleBytes;
  }
  __device__ uint32_t weightScales(uint32_t span) const { return scales(span) + C.tileTokens * 4; }
};

} // namespace moec
