// Grouped GEMM for Hopper whose tiles fit the rows that an expert has: weights are on the 64-row side of wgmma, token
// rows on the other, whose width each tile picks. One warpgroup loads, the others own 64 weight rows each (of a tile of
// 32 one owns those); a tile's outputs leave through shared memory by the copy engine while the next tile is
// multiplied.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/fitted/Products.cuh"
#include "compiler/kernels/fitted/Ring.cuh"
#include "compiler/kernels/fitted/RowCopier.cuh"
#include "compiler/kernels/ptx/Cluster.cuh"
#include "compiler/kernels/ptx/Elect.cuh"
#include "compiler/kernels/ptx/Registers.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/Loader.cuh"
#include "compiler/kernels/tile/RowFetcher.cuh"
#include "compiler/kernels/tile/SwappedMultiplier.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// As groupedGemmPortable, on Hopper. `weights` maps gate and up rows interleaved by eight as (64 elements of k, 8
/// rows, 2, tileWeights / 16 groups, 1 expert); down: [E, n, k] in boxes of 64 elements of k by tileWeights rows.
/// `tokens` maps args.tokens as [numSlots, k], or [T, k] where rows are gathered, in boxes of 64 elements by
/// tokenBoxRows(C) rows (not read by who copies rows: gathersTokens(C) and not fetchesRows(C)), `output` args.output in
/// boxes of 64 columns by kOutputBoxRows rows. All are swizzled by 128 bytes; `args.weights` and `args.upWeights` are
/// not read.
///
/// Launch: any grid of whole clusters, hopperThreads(C) threads, hopperSharedBytes(C) or more.
template <GemmConfig C, class Activation>
__global__ void __cluster_dims__(C.clusterBlocks, 1, 1) __launch_bounds__(hopperThreads(C), C.blocksPerSm)
    groupedGemmFitted(const __grid_constant__ TensorMap weights, const __grid_constant__ TensorMap tokens,
                      const __grid_constant__ TensorMap output, const __grid_constant__ GroupedGemmArgs args) {
  extern __shared__ uint8_t unaligned[];
  __shared__ __align__(8) uint64_t barriers[2 * C.stages];
  __shared__ __align__(16) tile::SharedWork sharedWork;
  using Ring = FittedRing<C>;
  Ring ring;
  tile::WorkQueue<Ring::takers, Ring::blocksTogether> queue{&sharedWork};
  ring.tiles = tile::uniform((ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024); // (in a register, not found anew)
  ring.barriers = ptx::sharedAddress(barriers);
  if (threadIdx.x < 32 && ptx::elect()) {
    ring.init();
    queue.init();
    ptx::prefetchTensorMap(&weights);
    ptx::prefetchTensorMap(&output);
    if constexpr (!gathersTokens(C) || fetchesRows(C))
      ptx::prefetchTensorMap(&tokens);
  }
  const uint32_t rank = Ring::blocksTogether > 1 ? ptx::clusterRank() : 0;
  if constexpr (Ring::blocksTogether > 1)
    ptx::clusterBegin(); // nobody reaches for barriers that are not there yet
  else
    __syncthreads();

  // Registers follow the work. What the block may share out is what it started with, 3 * 168; asking for more waits
  // forever.
  constexpr bool trade = Ring::groups == 2;
  static_assert(56 + 2 * 224 <= 3 * 168);
  const uint32_t warpgroup = tile::warpgroup();
  if (warpgroup == 0) {
    if constexpr (trade)
      ptx::giveRegisters<56>();
    tile::prepareTables<C, Ring>(args);
    if (threadIdx.x < 32) {
      tile::Loader<C, Ring> loader{args, &weights, &tokens, ring, queue};
      loader.prepare();
      if (ptx::elect())
        loader.run();
      loader.end();
    } else if constexpr (fetchesRows(C)) {
      const uint32_t warp = tile::uniform(threadIdx.x / 32) - 1;
      tile::RowFetcher<C, Ring>{args, &tokens, ring, queue, rank * gatheringWarps(C) + warp}.run();
    } else if constexpr (gathersTokens(C)) {
      FittedRowCopier<C>{args, ring, queue}.run();
    }
  } else {
    if constexpr (trade)
      ptx::takeRegisters<224>();
    using Multiplier = tile::SwappedMultiplier<C, FittedProducts<C>, Activation>;
    tile::multiplyTiles(Multiplier{{{args, &output, ring, queue, warpgroup - 1}}});
  }
  if constexpr (Ring::blocksTogether > 1) {
    __syncwarp();
    ptx::clusterEnd(); // nor for shared memory that has gone
  }
}

} // namespace moec
