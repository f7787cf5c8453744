// Stages of shared memory that a block fills and empties while it multiplies.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/CachePolicy.cuh"
#include "compiler/kernels/ptx/Cluster.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/Schedule.cuh"
#include "compiler/kernels/tile/Stages.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"

namespace moec::tile {

/// The ring of stages, each a weight tile and a token tile, with a barrier that says "full" and one that says "empty".
/// One thread (Loader.cuh) fills them by the copy engine, `LoadingWarps` warps with what that does not bring. At the
/// end of a tile the last stages that it read hold its outputs until they have left; `held` of them.
template <GemmConfig C, uint32_t ElementBytes, uint32_t LoadingWarps, uint32_t LoadingThreads, uint32_t OutputBytes = 2>
struct Ring : Stages<C.stages, (C.tileTokens + C.tileWeights) * C.tileK * ElementBytes> {
  using Ring::Stages::at, Ring::Stages::before, Ring::Stages::bytes, Ring::Stages::stage, Ring::Stages::tileAt;
  static constexpr bool gated = C.role == GemmRole::GateUp, combines = C.combines;
  static_assert(!gated || !combines);
  // Whether down begins while gate-up ends (Progress.cuh), and whether the next launch does so whatever it waits for,
  // given so many tiles for each block.
  static constexpr bool overlaps = false, beginsNext = false;
  static constexpr uint32_t leastRounds = 0;
  static constexpr uint32_t elementBytes = ElementBytes;      // of tokens and weights
  static constexpr uint32_t blocksTogether = C.clusterBlocks; // that share token tiles
  static constexpr uint16_t allBlocks = (1u << blocksTogether) - 1;
  static constexpr uint32_t groups = C.warpsTokens; // multiplying warpgroups
  static constexpr uint32_t multipliers = multiplyingThreads(C);
  // Of 64 rows of wgmma, for each of them. With fewer weights it multiplies what lies behind them as well, and leaves
  // that in columns of a panel that nobody reads.
  static constexpr uint32_t sideRows = C.swapAB ? C.tileWeights : C.tileTokens,
                            wgmmaRows = sideRows < 64 ? 64 : sideRows, blocks = wgmmaRows / 64 / groups;
  static_assert(wgmmaRows == groups * blocks * 64 && !C.dense);
  // A stage's part of the sum, in pieces as long as a swizzled row: each has its weight rows and its token rows.
  static constexpr uint32_t spanElements = rowBytes / ElementBytes, spans = C.tileK / spanElements;
  static constexpr uint32_t weightBytes = C.tileWeights * rowBytes, tokenBytes = C.tileTokens * rowBytes;
  static constexpr uint32_t fillers = LoadingThreads + 1; // arrivals that fill a stage
  static constexpr uint32_t releases = groups * 4;        // arrivals that empty it: of each warp that reads it
  static constexpr uint32_t loadingWarps = LoadingWarps;
  static constexpr uint32_t takers = releases + loadingWarps; // warps that the loading thread tells of each tile
  // Outputs are panels of 128 bytes of columns by all token rows, swizzled as the copy engine wants them.
  static constexpr uint32_t outputBytes = OutputBytes, panelColumns = rowBytes / OutputBytes;
  static constexpr uint32_t panels = (outputColumns(C) + panelColumns - 1) / panelColumns,
                            panelsPerStage = bytes / tokenBytes;
  static constexpr uint32_t held = (panels + panelsPerStage - 1) / panelsPerStage;
  static_assert(sideRows >= 64 || (C.swapAB && spans * tokenBytes >= (64 - sideRows) * rowBytes),
                "what lies behind a tile of few weights is the same stage's");
  static_assert(C.tileK % spanElements == 0 && bytes == spans * (weightBytes + tokenBytes) && held < C.stages);

  __device__ uint32_t weights(uint32_t span) const { return at(stage) + span * weightBytes; }
  __device__ uint32_t tokens(uint32_t span) const { return at(stage) + spans * weightBytes + span * tokenBytes; }
  /// Matrix descriptors of the tiles that begin with a row of weights(span) or tokens(span), a multiple of 8.
  __device__ uint64_t weightTile(uint32_t span, uint32_t row) const {
    return tileAt(span * weightBytes / 16 + row * (rowBytes / 16));
  }
  __device__ uint64_t tokenTile(uint32_t span, uint32_t row) const {
    return tileAt((spans * weightBytes + span * tokenBytes) / 16 + row * (rowBytes / 16));
  }

  /// Has the copy engine bring a box of token rows to the present stage, for all blocks of the cluster.
  __device__ void loadTokens(const TensorMap *map, uint32_t to, uint32_t k, uint32_t row,
                             ptx::CachePolicy policy) const {
    if constexpr (blocksTogether > 1)
      ptx::tmaLoad2dToAll(to, map, k, row, this->full(), allBlocks, policy);
    else
      ptx::tmaLoad2d(to, map, k, row, this->full(), policy);
  }

  /// An output panel, when the present stage is the one after the tile.
  __device__ uint32_t panel(uint32_t index) const {
    return at(before(1 + index / panelsPerStage)) + index % panelsPerStage * tokenBytes;
  }

  /// By one thread, before the block's first barrier.
  __device__ void init() const { Ring::Stages::init(fillers, releases * blocksTogether); }

  /// The tile's columns that are this block's, of those of its cluster.
  static __device__ Work own(Work work) {
    if constexpr (blocksTogether > 1)
      work.firstColumn += ptx::clusterRank() * outputColumns(C);
    return work;
  }

  /// Steps of a tile: enough for `held` stages.
  static __device__ uint32_t numSteps(uint32_t k) {
    const uint32_t steps = (k + C.tileK - 1) / C.tileK;
    return steps < held ? held : steps;
  }
};

} // namespace moec::tile
