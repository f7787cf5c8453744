// Dispatch of some thousands of pairs in one launch: the blocks of one cluster leave their counts in each other's
// shared memory. The slots are those of dispatch.cuh, the same in every run.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/ptx/Cluster.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// What a block does with its share of the pairs. Warps own consecutive parts of it, in order; a thread keeps its
/// pairs' experts and their ranks in registers, so ids are read and compared once.
template <DispatchConfig C> struct ClusterDispatch {
  static constexpr uint32_t warps = C.threads / 32, blocks = kDispatchClusterBlocks, turns = kDispatchClusterTurns;
  static_assert(turns * 32 * warps <= 0xffff, "a block's pairs are counted in 16 bits");

  struct Shared {
    uint16_t ofWarp[warps][C.experts];   // pairs of each expert: first counted, then those of the warps before
    uint16_t ofBlock[blocks][C.experts]; // written by the blocks
    int32_t before[C.experts];           // pairs that earlier blocks have
    int32_t begin[tableExperts(C)];
    ExpertRows<C> experts;
  };

  Shared &shared;
  const DispatchArgs &args;
  const uint32_t rank;                   // of the block
  uint32_t begin, end;                   // this warp's part
  uint32_t expert[turns], before[turns]; // of this lane's pairs: C.experts for padding; of the same expert in its warp

  __device__ ClusterDispatch(Shared &shared, const DispatchArgs &args, uint32_t rank)
      : shared(shared), args(args), rank(rank) {
    const uint32_t perWarp = ceilDivide(ceilDivide(args.numPairs, blocks * warps), 32u) * 32;
    begin = (rank * warps + threadIdx.x / 32) * perWarp;
    begin = begin < args.numPairs ? begin : args.numPairs;
    end = begin + perWarp < args.numPairs ? begin + perWarp : args.numPairs;
  }

  __device__ uint32_t pairOf(uint32_t turn) const { return begin + turn * 32 + threadIdx.x % 32; }

  /// Before ids may be read.
  __device__ void clear() {
    for (uint32_t i = threadIdx.x % 32; i < C.experts; i += 32)
      shared.ofWarp[threadIdx.x / 32][i] = 0;
    __syncwarp();
  }

  __device__ void countPairs() {
#pragma unroll
    for (uint32_t turn = 0; turn < turns; ++turn) { // all loads under way together
      const uint32_t pair = pairOf(turn);
      const uint32_t id = pair < end ? static_cast<uint32_t>(args.ids[pair]) : C.experts;
      expert[turn] = id < C.experts ? id : C.experts;
    }
    uint16_t *mine = shared.ofWarp[threadIdx.x / 32];
#pragma unroll
    for (uint32_t turn = 0; turn < turns; ++turn) {
      if (begin + turn * 32 >= end)
        break;
      const uint32_t same = __match_any_sync(tile::allLanes, expert[turn]), below = same & tile::lanesBelow();
      const bool real = expert[turn] < C.experts;
      before[turn] = real ? mine[expert[turn]] + __popc(below) : 0;
      __syncwarp(); // all lanes have read before one writes
      if (real && below == 0)
        mine[expert[turn]] = static_cast<uint16_t>(before[turn] + __popc(same));
      __syncwarp();
    }
  }

  /// Turns `ofWarp` into what the warps before have, and tells all blocks what this one has. By all threads, behind a
  /// barrier.
  __device__ void tellBlocks() {
    for (uint32_t of = threadIdx.x; of < C.experts; of += C.threads) {
      uint32_t pairs[warps], sum = 0;
#pragma unroll
      for (uint32_t warp = 0; warp < warps; ++warp)
        pairs[warp] = shared.ofWarp[warp][of];
#pragma unroll
      for (uint32_t warp = 0; warp < warps; ++warp) {
        shared.ofWarp[warp][of] = static_cast<uint16_t>(sum);
        sum += pairs[warp];
      }
      const uint32_t to = ptx::sharedAddress(&shared.ofBlock[rank][of]);
#pragma unroll
      for (uint32_t block = 0; block < blocks; ++block)
        ptx::storeSharedAt(to, static_cast<uint16_t>(sum), block);
    }
  }

  /// Rows of each expert, and those of earlier blocks. By all threads, before a barrier.
  __device__ void sumBlocks() {
    shared.experts.setJoined(args);
    for (uint32_t of = threadIdx.x; of < C.experts; of += C.threads) {
      int32_t all = 0, earlier = 0;
#pragma unroll
      for (uint32_t block = 0; block < blocks; ++block) {
        const int32_t pairs = shared.ofBlock[block][of];
        all += pairs;
        earlier += block < rank ? pairs : 0;
      }
      shared.experts.routed()[of] = all;
      shared.before[of] = earlier;
    }
  }

  /// Behind a barrier after `begin` is written.
  __device__ void place() const {
#pragma unroll
    for (uint32_t turn = 0; turn < turns; ++turn) {
      const uint32_t pair = pairOf(turn), of = expert[turn];
      if (pair >= end)
        break;
      if (of == C.experts) {
        args.slotOfPair[pair] = -1;
        continue;
      }
      const int32_t slot = shared.begin[C.joined + of] + shared.before[of] + shared.ofWarp[threadIdx.x / 32][of] +
                           static_cast<int32_t>(before[turn]);
      args.slotOfPair[pair] = slot + args.slotOffset;
      args.slotPair[slot] = static_cast<int32_t>(pair);
    }
  }
};

/// At most dispatchClusterPairs(C) pairs. Launch: kDispatchClusterBlocks blocks of C.threads threads.
template <DispatchConfig C>
__global__ void __cluster_dims__(kDispatchClusterBlocks, 1, 1) __launch_bounds__(C.threads, 1)
    dispatchCluster(const __grid_constant__ DispatchArgs args) {
  using Dispatch = ClusterDispatch<C>;
  __shared__ typename Dispatch::Shared shared;
  Dispatch block(shared, args, ptx::clusterRank());
  block.clear();
  ptx::startNext(); // blocks of a cluster start together, so none of ours has to wait for a place of the next launch's
  ptx::clusterBegin();
  ptx::waitForPrevious();
  block.countPairs();
  __syncthreads();
  block.tellBlocks();
  ptx::clusterSync();
  block.sumBlocks();
  __syncthreads();
  if (block.rank == Dispatch::blocks - 1) { // whose share is the smallest
    writeTables<C>(args, shared.experts, shared.begin);
  } else {
    if (threadIdx.x < 32)
      tile::warpScan<tableExperts(C)>([&](uint32_t expert) { return shared.experts.rows[expert]; },
                                      [&](uint32_t expert, int32_t slot) { shared.begin[expert] = slot; });
    __syncthreads();
  }
  writeJoinedSlots<C>(args, block.rank, Dispatch::blocks);
  block.place();
}

} // namespace moec
