// The router's product for many tokens on Hopper: one warpgroup copies rows into a ring of stages, the others multiply
// them by wgmma. Large tiles read each row seldom, deep rings keep the copies under way, and the sum's order is that of
// routerLogits.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/router/Gatherer.cuh"
#include "compiler/kernels/router/Multiplier.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// As routerLogits.
///
/// Launch: any grid (routerBlocks() takes one turn), routerThreads(C) threads, routerSharedBytes(C).
template <RouterGemmConfig C>
__global__ void __launch_bounds__(routerThreads(C), 1) routerLogitsSm90(const __grid_constant__ RouterGemmArgs args) {
  static_assert(C.wgmma);
  extern __shared__ uint8_t unaligned[];
  __shared__ __align__(8) uint64_t barriers[2 * routerStages(C)];
  ptx::startNext();
  using Ring = RouterRing<C>;
  Ring ring;
  ring.tiles = tile::uniform((ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024); // (in a register, not found anew)
  ring.barriers = ptx::sharedAddress(barriers);
  if (threadIdx.x == 0)
    ring.init(Ring::fillers, Ring::releases);
  __syncthreads();
  ptx::waitForPrevious();

  const uint32_t tiles = routerBlocks(C, args.numTokens, args.numExperts + (args.extraRow ? 1 : 0));
  if (tile::warpgroup() == 0) {
    RouterGatherer<C> gatherer(args, ring);
    for (uint32_t index = blockIdx.x; index < tiles; index += gridDim.x)
      gatherer.gatherTile(tile::RouterPlace<C>(args, index));
    gatherer.finish();
  } else {
    RouterMultiplier<C> multiplier(args, ring);
    for (uint32_t index = blockIdx.x; index < tiles; index += gridDim.x)
      multiplier.multiplyTile(tile::RouterPlace<C>(args, index));
  }
}

} // namespace moec
