// Dispatch of many pairs in one launch: blocks count their pairs, wait for each other, and place them. The slots are
// those of dispatch.cuh, the same in every run.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/GridBarrier.cuh"

namespace moec {

/// All blocks' counts of each routed expert: `pairs` in total, and `before` this block. Both in shared memory.
template <DispatchConfig C> __device__ void sumBlocks(const DispatchArgs &args, int32_t *pairs, int32_t *before) {
  // As many threads an expert as there are, each with some of the blocks.
  constexpr uint32_t groups = C.threads > C.experts ? C.threads / C.experts : 1;
  for (uint32_t expert = threadIdx.x; expert < C.experts; expert += C.threads)
    pairs[expert] = before[expert] = 0;
  __syncthreads();
  const uint32_t group = threadIdx.x / C.experts;
  if (group < groups)
    for (uint32_t expert = threadIdx.x % C.experts; expert < C.experts; expert += C.threads) {
      int32_t all = 0, earlier = 0;
#pragma unroll
      for (uint32_t i = 0; i < ceilDivide(kDispatchGridMost, groups); ++i) { // all loads under way together
        const uint32_t block = i * groups + group;
        const int32_t count =
            block < args.numBlocks ? args.blockCounts[static_cast<uint64_t>(block) * C.experts + expert] : 0;
        all += count;
        earlier += block < blockIdx.x ? count : 0;
      }
      atomicAdd(&pairs[expert], all);
      atomicAdd(&before[expert], earlier);
    }
  __syncthreads();
}

/// Launch: args.numBlocks = dispatchGridBlocks() blocks of C.threads threads, all of which must be able to run at once.
template <DispatchConfig C>
__global__ void __launch_bounds__(C.threads, 1) dispatchGrid(const __grid_constant__ DispatchArgs args) {
  ptx::startNext(); // blocks of the next launch cannot take the place of ours: all of ours have started when they may
  ptx::waitForPrevious();
  __shared__ typename BlockDispatch<C>::Shared shared;
  __shared__ ExpertRows<C> experts;
  __shared__ int32_t before[C.experts];
  const uint32_t perBlock = ceilDivide(args.numPairs, args.numBlocks);
  const uint32_t first = blockIdx.x * perBlock < args.numPairs ? blockIdx.x * perBlock : args.numPairs;
  BlockDispatch<C> block(shared, args, first, first + perBlock < args.numPairs ? first + perBlock : args.numPairs);
  int32_t *mine = args.blockCounts + static_cast<uint64_t>(blockIdx.x) * C.experts;
  block.count([&](uint32_t expert, int32_t total) { mine[expert] = total; });
  tile::gridBarrier(args.gridBarrier, args.numBlocks);
  experts.setJoined(args);
  sumBlocks<C>(args, experts.routed(), before);
  if (blockIdx.x == args.numBlocks - 1) { // whose share is the smallest
    writeTables<C>(args, experts, shared.begin);
  } else if (threadIdx.x < 32) {
    tile::warpScan<tableExperts(C)>([&](uint32_t expert) { return experts.rows[expert]; },
                                    [&](uint32_t expert, int32_t slot) { shared.begin[expert] = slot; });
  }
  writeJoinedSlots<C>(args, blockIdx.x, args.numBlocks);
  __syncthreads();
  for (uint32_t expert = threadIdx.x; expert < C.experts; expert += C.threads)
    shared.routedBegin()[expert] += before[expert];
  __syncthreads();
  block.place();
}

} // namespace moec
