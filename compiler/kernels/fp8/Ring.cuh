// Stages of shared memory that a block of groupedGemmFp8 fills and empties.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/tile/Schedule.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"

namespace moec {

/// The ring of stages, each a weight tile, a token tile and their scales, with a barrier that says
/// "full" and one that says "empty". At the end of a tile the last stages that it read hold its
/// outputs until they have left; `held` of them.
template <GemmConfig C> struct Fp8Ring {
  static constexpr bool gated = C.role == GemmRole::GateUp;
  static constexpr uint32_t groups = C.warpsTokens;     // multiplying warpgroups
  static constexpr uint32_t multipliers = groups * 128; // threads
  // Of 64 rows, for each of them: of weights, or of tokens (RowMultiplier.cuh).
  static constexpr uint32_t wgmmaRows = C.swapAB ? C.tileWeights : C.tileTokens, blocks = wgmmaRows / 64 / groups;
  static_assert(wgmmaRows == groups * blocks * 64 && !C.dense && !C.biased && !C.weighted);
  // Gate-up: 128 columns of gate and up at most, so that one scale of each serves the tile. Down:
  // two.
  static_assert(C.tileWeights <= 256);
  // A stage's part of the sum, in pieces as long as a swizzled row, which is a block of the scales.
  static constexpr uint32_t spans = C.tileK / kFp8Block;
  static constexpr uint32_t weightBytes = C.tileWeights * tile::rowBytes, tokenBytes = C.tileTokens * tile::rowBytes;
  static constexpr uint32_t scaleBytes = fp8ScaleFloats(C) * 4;
  static constexpr uint32_t fillers =
      32 + 1; // arrivals that fill a stage: of the scales' warp, and the loading thread's
  static constexpr uint32_t releases = groups * 4; // arrivals that empty it: of each warp that reads it
  // Outputs are panels of 64 columns (128 bytes) by all token rows, swizzled as the copy engine
  // wants them.
  static constexpr uint32_t panels = (tile::outputColumns(C) + 63) / 64, panelsPerStage = fp8StageBytes(C) / tokenBytes;
  static constexpr uint32_t held = (panels + panelsPerStage - 1) / panelsPerStage;
  static_assert(kFp8Block == tile::rowBytes && C.tileK % kFp8Block == 0 && held < C.stages);

  uint32_t tiles, barriers;
  uint32_t stage = 0, parity = 0;

  __device__ uint32_t at(uint32_t which) const { return tiles + which * fp8StageBytes(C); }
  __device__ uint32_t weights(uint32_t span) const { return at(stage) + span * weightBytes; }
  __device__ uint32_t tokens(uint32_t span) const { return at(stage) + spans * weightBytes + span * tokenBytes; }
  /// The token rows' scales; the weights' two lie behind.
  __device__ uint32_t scales(uint32_t span) const {
    return tiles + C.stages * fp8StageBytes(C) + (stage * spans + span) * scaleBytes;
  }
  __device__ uint32_t weightScales(uint32_t span) const { return scales(span) + C.tileTokens * 4; }
  __device__ uint32_t full() const { return barriers + stage * 8; }
  __device__ uint32_t emptyOf(uint32_t which) const { return barriers + (C.stages + which) * 8; }
  __device__ void waitEmpty() const { ptx::barrierWait(emptyOf(stage), parity ^ 1); }

  __device__ void next() {
    if (++stage == C.stages) {
      stage = 0;
      parity ^= 1;
    }
  }
  /// The stage `back` before the present one.
  __device__ uint32_t before(uint32_t back) const { return stage >= back ? stage - back : stage + C.stages - back; }

  /// An output panel, when the present stage is the one after the tile.
  __device__ uint32_t panel(uint32_t index) const {
    return at(before(1 + index / panelsPerStage)) + index % panelsPerStage * tokenBytes;
  }

  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < C.stages; ++i) {
      ptx::barrierInit(barriers + i * 8, fillers);
      ptx::barrierInit(emptyOf(i), releases);
    }
    ptx::fenceBarrierInit();
  }

  /// Steps of a tile: enough for `held` stages.
  static __device__ uint32_t numSteps(uint32_t k) {
    const uint32_t steps = (k + C.tileK - 1) / C.tileK;
    return steps < held ? held : steps;
  }
};

} // namespace moec
