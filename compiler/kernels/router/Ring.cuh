// Stages of shared memory that a block of routerLogitsSm90 fills and empties.
#pragma once

#include "compiler/kernels/tile/RouterPlace.cuh"
#include "compiler/kernels/tile/Stages.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"

namespace moec {

/// A stage has 64 elements of the sum, of a tile's token rows and of its experts'. Four warps fill it. No stage has
/// elements of two shares: the last of a share with an odd number of chunks is filled up with zeros, which change no
/// sum.
template <RouterGemmConfig C> struct RouterRing : tile::Stages<routerStages(C), routerStageBytes(C)> {
  static constexpr uint32_t fillers = 128, releases = routerGroups(C) * 4;
  static constexpr uint32_t chunksOfStage = tile::rowBytes / 2 / kRouterChunk;
  static_assert(routerStageBytes(C) == (C.tileTokens + C.tileExperts) * tile::rowBytes && routerStages(C) >= 3);

  __device__ uint32_t tokens() const { return this->at(this->stage); }
  __device__ uint32_t weights() const { return tokens() + C.tileTokens * tile::rowBytes; }
  /// The matrix descriptor of the experts from one on, a multiple of 8.
  __device__ uint64_t weightTile(uint32_t expert) const {
    return this->tileAt((C.tileTokens + expert) * (tile::rowBytes / 16));
  }

  static __device__ uint32_t stagesOf(const tile::RouterShare &share) {
    return share.begin < share.end ? (share.end - share.begin + chunksOfStage - 1) / chunksOfStage : 0;
  }
};

} // namespace moec
