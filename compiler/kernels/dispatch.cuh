// Dispatch: gives every pair a slot. An expert's slots follow each other and hold its pairs in token order, the same in
// every run. Where an expert is joined that takes all tokens, it has the first slots. A cluster of blocks does it up to
// so many pairs as that takes (dispatchCluster.cuh), or, where there are no clusters, one block if they are few
// (dispatchOneBlock). Many: blocks that wait for each other (dispatchGrid.cuh), or, where they cannot all run at once,
// dispatchCount, dispatchScan, dispatchPlace.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Counters.cuh"
#include "compiler/kernels/tile/Tables.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// How one block counts and places a range of pairs. Warps own consecutive parts of the range, in order.
template <DispatchConfig C> struct BlockDispatch {
  static constexpr uint32_t warps = C.threads / 32;
  static constexpr uint32_t batch = 4; // times 32 ids that a warp has under way together

  struct Shared {
    int32_t ofWarp[warps][C.experts]; // pairs of each expert: first counted, then those of the warps before
    int32_t begin[tableExperts(C)];
    __device__ int32_t *routedBegin() { return begin + C.joined; }
  };

  Shared &shared;
  const DispatchArgs &args;
  uint32_t begin, end; // this warp's part

  __device__ BlockDispatch(Shared &shared, const DispatchArgs &args, uint32_t first, uint32_t last)
      : shared(shared), args(args) {
    const uint32_t perWarp = (last - first + warps * 32 - 1) / (warps * 32) * 32;
    begin = first + threadIdx.x / 32 * perWarp;
    begin = begin < last ? begin : last;
    end = begin + perWarp < last ? begin + perWarp : last;
  }

  /// The expert of a pair, or C.experts for padding.
  __device__ uint32_t expertOf(uint32_t pair) const {
    const uint32_t id = pair < end ? static_cast<uint32_t>(args.ids[pair]) : C.experts;
    return id < C.experts ? id : C.experts;
  }

  __device__ void loadExperts(uint32_t (&expert)[batch], uint32_t first) const {
#pragma unroll
    for (uint32_t i = 0; i < batch; ++i)
      expert[i] = expertOf(first + i * 32 + threadIdx.x % 32);
  }

  /// Counts the range, then turns `ofWarp` into what the warps before have. Returns the block's pairs of expert
  /// `threadIdx.x + i * C.threads` through `total(expert, pairs)`.
  template <class Total> __device__ void count(Total total) {
    for (uint32_t i = threadIdx.x; i < warps * C.experts; i += C.threads)
      shared.ofWarp[i / C.experts][i % C.experts] = 0;
    __syncthreads();
    int32_t *mine = shared.ofWarp[threadIdx.x / 32];
    for (uint32_t first = begin; first < end; first += batch * 32) {
      uint32_t expert[batch];
      loadExperts(expert, first);
#pragma unroll
      for (uint32_t i = 0; i < batch; ++i)
        if (expert[i] < C.experts)
          atomicAdd(&mine[expert[i]], 1);
    }
    __syncthreads();
    for (uint32_t expert = threadIdx.x; expert < C.experts; expert += C.threads) {
      int32_t sum = 0;
      for (uint32_t warp = 0; warp < warps; ++warp) {
        const int32_t pairs = shared.ofWarp[warp][expert];
        shared.ofWarp[warp][expert] = sum;
        sum += pairs;
      }
      total(expert, sum);
    }
    __syncthreads();
  }

  /// Gives the range's pairs their slots; `routedBegin` holds the block's first slot of each expert.
  __device__ void place() {
    for (uint32_t first = begin; first < end; first += batch * 32) {
      uint32_t expert[batch];
      loadExperts(expert, first);
#pragma unroll
      for (uint32_t i = 0; i < batch; ++i)
        placeOne(first + i * 32 + threadIdx.x % 32, expert[i]);
    }
  }

  /// Each lane's pair; all lanes take part.
  __device__ void placeOne(uint32_t pair, uint32_t expert) {
    const uint32_t lane = threadIdx.x % 32;
    int32_t *mine = shared.ofWarp[threadIdx.x / 32];
    const uint32_t same = __match_any_sync(tile::allLanes, expert);
    const bool real = expert < C.experts;
    const int32_t before = real ? mine[expert] + __popc(same & tile::lanesBelow()) : 0;
    __syncwarp(); // all lanes have read before one writes
    if (real && lane == __ffs(same) - 1)
      mine[expert] += __popc(same);
    __syncwarp();
    if (pair >= end)
      return;
    const int32_t slot = real ? shared.routedBegin()[expert] + before : -1;
    const int32_t original = args.pairOf ? args.pairOf[pair] : static_cast<int32_t>(pair);
    args.slotOfPair[original] = real ? slot + args.slotOffset : -1;
    if (real)
      args.slotPair[slot] = original;
  }
};

/// Rows of each expert of the tables, in shared memory.
template <DispatchConfig C> struct ExpertRows {
  int32_t rows[tableExperts(C)];

  __device__ int32_t *routed() { return rows + C.joined; }
  /// By all threads, before a barrier that comes before they are read.
  __device__ void setJoined(const DispatchArgs &args) {
    if (C.joined && threadIdx.x == 0)
      rows[0] = static_cast<int32_t>(args.numTokens);
  }
};

/// A joined expert's part of slotPair, by so many blocks. Nothing else depends on it within the launch.
template <DispatchConfig C>
__device__ void writeJoinedSlots(const DispatchArgs &args, uint32_t block, uint32_t numBlocks) {
  if constexpr (C.joined)
    for (uint32_t token = block * C.threads + threadIdx.x; token < args.numTokens; token += numBlocks * C.threads)
      args.slotPair[token] = static_cast<int32_t>(token * args.topK);
}

/// Turns `experts` into `begin` [X], and writes what the other kernels read: counts, expertBegin, the tiles, and the
/// sample of the counts. All threads of one block.
template <DispatchConfig C>
__device__ void writeTables(const DispatchArgs &args, ExpertRows<C> &experts, int32_t *begin) {
  constexpr uint32_t warps = C.threads / 32, numExperts = tableExperts(C);
  const int32_t *rows = experts.rows;
#pragma unroll 1 // (else so many stores are kept ready)
  for (uint32_t i = threadIdx.x; i < args.numProgress; i += C.threads)
    args.progress[i] = 0;
  if (threadIdx.x < 32) {
    const int32_t slots = tile::warpScan<numExperts>([&](uint32_t expert) { return rows[expert]; },
                                                     [&](uint32_t expert, int32_t slot) { begin[expert] = slot; });
    if (threadIdx.x == 0)
      args.expertBegin[numExperts] = slots;
  }
  if (threadIdx.x / 32 == warps - 1)
    tile::sampleCounts(
        args.ring, C.experts, [&](uint32_t expert) { return static_cast<uint32_t>(experts.routed()[expert]); },
        args.numPairs);
  tile::writeTiles<numExperts, C.threads>({args.plannedOrder, args.tileHead, args.tiles, args.tileTokens, args.mixRows},
                                          rows, [&](uint32_t expert) { return static_cast<uint32_t>(begin[expert]); });
  for (uint32_t expert = threadIdx.x; expert < numExperts; expert += C.threads) { // behind writeTiles' barrier
    args.counts[expert] = rows[expert];
    args.expertBegin[expert] = begin[expert];
  }
}

/// The whole dispatch by one block. Launch: 1 block of C.threads threads. ("At least 1 on a multiprocessor" is more
/// than nothing: without it ptxas spills rather than take more than 32 registers.)
template <DispatchConfig C>
__global__ void __launch_bounds__(C.threads, 1) dispatchOneBlock(const __grid_constant__ DispatchArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  __shared__ typename BlockDispatch<C>::Shared shared;
  __shared__ ExpertRows<C> experts;
  const uint32_t numPairs = args.pairsOnDevice ? static_cast<uint32_t>(*args.pairsOnDevice) : args.numPairs;
  BlockDispatch<C> block(shared, args, 0, numPairs);
  experts.setJoined(args);
  block.count([&](uint32_t expert, int32_t total) { experts.routed()[expert] = total; });
  writeTables<C>(args, experts, shared.begin);
  writeJoinedSlots<C>(args, 0, 1);
  block.place(); // writeTables ends behind a barrier after `begin` is written
}

/// First of three: each block counts `C.pairsPerBlock` pairs. Launch: args.numBlocks blocks.
template <DispatchConfig C>
__global__ void __launch_bounds__(C.threads) dispatchCount(const __grid_constant__ DispatchArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  __shared__ typename BlockDispatch<C>::Shared shared;
  const uint32_t first = blockIdx.x * C.pairsPerBlock, last = first + C.pairsPerBlock;
  BlockDispatch<C> block(shared, args, first, last < args.numPairs ? last : args.numPairs);
  int32_t *mine = args.blockCounts + static_cast<uint64_t>(blockIdx.x) * C.experts;
  block.count([&](uint32_t expert, int32_t total) { mine[expert] = total; });
}

/// Second: turns blockCounts into each block's first slot of each expert. Launch: 1 block.
template <DispatchConfig C>
__global__ void __launch_bounds__(C.threads, 1) dispatchScan(const __grid_constant__ DispatchArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  __shared__ ExpertRows<C> experts;
  __shared__ int32_t begin[tableExperts(C)];
  experts.setJoined(args);
  for (uint32_t expert = threadIdx.x; expert < C.experts; expert += C.threads) {
    int32_t sum = 0;
#pragma unroll 8
    for (uint32_t i = 0; i < args.numBlocks; ++i)
      sum += args.blockCounts[static_cast<uint64_t>(i) * C.experts + expert];
    experts.routed()[expert] = sum;
  }
  __syncthreads();
  writeTables<C>(args, experts, begin);
  for (uint32_t expert = threadIdx.x; expert < C.experts; expert += C.threads) {
    int32_t slot = begin[C.joined + expert];
#pragma unroll 8
    for (uint32_t i = 0; i < args.numBlocks; ++i) {
      int32_t &entry = args.blockCounts[static_cast<uint64_t>(i) * C.experts + expert];
      const int32_t mine = entry;
      entry = slot;
      slot += mine;
    }
  }
}

/// Third: each block places its pairs. Launch: args.numBlocks blocks.
template <DispatchConfig C>
__global__ void __launch_bounds__(C.threads) dispatchPlace(const __grid_constant__ DispatchArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  __shared__ typename BlockDispatch<C>::Shared shared;
  const uint32_t first = blockIdx.x * C.pairsPerBlock, last = first + C.pairsPerBlock;
  BlockDispatch<C> block(shared, args, first, last < args.numPairs ? last : args.numPairs);
  const int32_t *mine = args.blockCounts + static_cast<uint64_t>(blockIdx.x) * C.experts;
  block.count([&](uint32_t expert, int32_t) { shared.routedBegin()[expert] = mine[expert]; });
  writeJoinedSlots<C>(args, blockIdx.x, args.numBlocks);
  block.place();
}

} // namespace moec
