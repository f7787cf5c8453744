// Dispatch into static slots, in one pass: where an expert's rows begin is known before anything is counted. Pairs
// beyond an expert's slots go to a list. Which slot of its expert a pair gets differs from run to run; no result does,
// since each row is computed by itself and summed in the order of its token's pairs.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Counters.cuh"
#include "compiler/kernels/tile/GridBarrier.cuh"
#include "compiler/kernels/tile/Tables.cuh"

namespace moec {

/// What one block does with chunks of pairs.
template <DispatchConfig C> struct SlotDispatch {
  static_assert(!C.joined, "a joined expert's rows are laid out without gaps");
  static constexpr uint32_t batch = 4; // pairs of a thread
  static constexpr uint32_t chunk = C.threads * batch;

  struct Shared {
    int32_t count[C.experts]; // of this block's chunk; then the rows in use, for the tables
    int32_t base[C.experts];  // pairs of the expert in chunks taken before
    int32_t spilled, spillBase;
    uint32_t last;
  };

  Shared &shared;
  const DispatchSlotsArgs &args;

  __device__ uint32_t expertOf(uint32_t pair) const {
    const uint32_t id = pair < args.numPairs ? static_cast<uint32_t>(args.ids[pair]) : C.experts;
    return id < C.experts ? id : C.experts;
  }

  /// One chunk: count in shared memory, take a range of each expert's rows with one atomic, write the pairs.
  __device__ void placeChunk(uint32_t first) {
    for (uint32_t expert = threadIdx.x; expert < C.experts; expert += C.threads)
      shared.count[expert] = 0;
    if (threadIdx.x == 0)
      shared.spilled = 0;
    __syncthreads();
    uint32_t expert[batch];
    int32_t rank[batch];
#pragma unroll
    for (uint32_t i = 0; i < batch; ++i) // all loads first
      expert[i] = expertOf(first + i * C.threads + threadIdx.x);
#pragma unroll
    for (uint32_t i = 0; i < batch; ++i)
      rank[i] = expert[i] < C.experts ? atomicAdd(&shared.count[expert[i]], 1) : 0;
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < C.experts; e += C.threads)
      if (shared.count[e] > 0)
        shared.base[e] = atomicAdd(&args.cursors[e], shared.count[e]);
    __syncthreads();
    writeSlots(first, expert, rank);
    writeSpills(first, expert, rank);
  }

  /// Writes the pairs that have a slot; gives the others, in `rank`, their number among the chunk's spilled pairs.
  __device__ void writeSlots(uint32_t first, uint32_t (&expert)[batch], int32_t (&rank)[batch]) {
#pragma unroll
    for (uint32_t i = 0; i < batch; ++i) {
      const uint32_t pair = first + i * C.threads + threadIdx.x;
      if (pair >= args.numPairs)
        continue;
      int32_t slot = -1;
      if (expert[i] < C.experts) {
        slot = args.slotBegin[expert[i]] + shared.base[expert[i]] + rank[i];
        if (slot < args.slotBegin[expert[i] + 1]) {
          args.slotPair[slot] = static_cast<int32_t>(pair);
          expert[i] = C.experts; // done
        } else {
          slot = -1;
          rank[i] = atomicAdd(&shared.spilled, 1);
        }
      }
      args.slotOfPair[pair] = slot;
    }
    __syncthreads();
  }

  __device__ void writeSpills(uint32_t first, const uint32_t (&expert)[batch], const int32_t (&rank)[batch]) {
    if (shared.spilled == 0) // the same for all threads
      return;
    if (threadIdx.x == 0)
      shared.spillBase = atomicAdd(&args.cursors[C.experts], shared.spilled);
    __syncthreads();
#pragma unroll
    for (uint32_t i = 0; i < batch; ++i)
      if (expert[i] < C.experts) {
        const int32_t at = shared.spillBase + rank[i];
        args.spillPairs[at] = static_cast<int32_t>(first + i * C.threads + threadIdx.x);
        args.spillIds[at] = static_cast<int32_t>(expert[i]);
      }
  }

  /// By the last block: the tables, from the cursors, which are then zeros again.
  __device__ void finish() {
    for (uint32_t e = threadIdx.x; e < C.experts; e += C.threads) {
      const int32_t pairs = args.cursors[e], begin = args.slotBegin[e], slots = args.slotBegin[e + 1] - begin;
      shared.base[e] = args.counts[e] = pairs;
      shared.count[e] = pairs < slots ? pairs : slots;
    }
    if (threadIdx.x == 0)
      *args.spillCount = args.cursors[C.experts];
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < C.experts + 2; i += C.threads)
      args.cursors[i] = 0;
    if (threadIdx.x / 32 == C.threads / 32 - 1)
      tile::sampleCounts(
          args.ring, C.experts, [&](uint32_t expert) { return static_cast<uint32_t>(shared.base[expert]); },
          args.numPairs);
    tile::writeTiles<C.experts, C.threads>(
        {args.plannedOrder, args.tileHead, args.tiles, args.tileTokens, args.mixRows}, shared.count,
        [&](uint32_t expert) { return static_cast<uint32_t>(args.slotBegin[expert]); });
  }
};

/// See DispatchSlotsArgs. Launch: any grid of C.threads threads; dispatchSlotsBlocks() take one turn.
template <DispatchConfig C>
__global__ void __launch_bounds__(C.threads, 1) dispatchSlots(const __grid_constant__ DispatchSlotsArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  __shared__ typename SlotDispatch<C>::Shared shared;
  SlotDispatch<C> block{shared, args};
  for (uint64_t first = static_cast<uint64_t>(blockIdx.x) * block.chunk; first < args.numPairs;
       first += static_cast<uint64_t>(gridDim.x) * block.chunk) {
    block.placeChunk(static_cast<uint32_t>(first));
    __syncthreads(); // the next chunk clears what slower warps still read
  }
  if (tile::isLastBlock(reinterpret_cast<uint32_t *>(args.cursors + C.experts + 1), shared.last))
    block.finish();
}

} // namespace moec
