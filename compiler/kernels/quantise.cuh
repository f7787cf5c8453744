// Quantise: rows of two-byte elements become e4m3 with a scale for each 128, and go to the slots of
// their pairs.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/fp8/BlockPart.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Load.cuh"
#include "compiler/kernels/tile/BlockPairs.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// A block of a row, and the slots that its row goes to, sixteen at a time: one in each lane of half a warp.
template <QuantiseConfig C> struct QuantiseItem {
  uint32_t row, block;
  bool exists;

  /// Slots that a row goes to. Behind those of its pairs comes that of a joined expert.
  static __device__ uint32_t copies(const QuantiseArgs &args) {
    return args.topK + (C.joined && args.slotOfPair ? 1 : 0);
  }

  __device__ uint32_t column() const { return block * kFp8Block + threadIdx.x % 16 * 8; }
  /// `few`: slots of the step's pairs, where they are few.
  __device__ int32_t laneSlot(const QuantiseArgs &args, const int32_t *few, uint32_t firstPair) const {
    const uint32_t pair = firstPair + threadIdx.x % 16;
    if (!exists || pair >= copies(args))
      return -1;
    if (C.joined && pair == args.topK)
      return static_cast<int32_t>(row);
    if (args.few.ids)
      return few[row * args.topK + pair];
    return args.slotOfPair ? args.slotOfPair[static_cast<uint64_t>(row) * args.topK + pair] : static_cast<int32_t>(row);
  }
};

/// Stores the lane's part of a block, and lane 0 its scale, in each of the row's slots. By all lanes of a warp.
template <QuantiseConfig C>
__device__ void storeQuantised(const QuantiseArgs &args, const QuantiseItem<C> &item, const int32_t *few,
                               int32_t laneSlots, const uint2 &packed, float scale) {
  for (uint32_t pair = 0; pair < item.copies(args); ++pair) {
    if (pair > 0 && pair % 16 == 0)
      laneSlots = item.laneSlot(args, few, pair);
    const int32_t slot = __shfl_sync(tile::allLanes, laneSlots, threadIdx.x % 32 / 16 * 16 + pair % 16);
    if (slot < 0)
      continue;
    const auto to = static_cast<uint64_t>(slot);
    if (item.column() < args.k)
      *reinterpret_cast<uint2 *>(args.quantised + to * args.k + item.column()) = packed;
    if (threadIdx.x % 16 == 0)
      args.scales[static_cast<uint64_t>(item.block) * args.scaleStride + to] = scale;
  }
}

/// All slots of pairs that are too many for a warp: `slots` [kBlockRows] of shared memory. By all threads.
template <QuantiseConfig C> __device__ void findBlockSlots(const FewPairs &few, int32_t *slots) {
  struct Barrier {
    __device__ void operator()() const { __syncthreads(); }
  };
  __shared__ tile::BlockCounts<C.threads / 32> counts;
  tile::BlockPairs<C.threads / 32, Barrier> pairs(few, counts);
  pairs.template find<kBlockRows>([](uint32_t, const TokenTile &) {}); // no tiles are asked for
  pairs.forSlots([&](uint32_t pair, int32_t slot) { slots[pair] = slot; });
  __syncthreads();
}

/// See QuantiseArgs. Waits for the kernel before it before it lets the next one start: that one may
/// then take for granted that whatever came before this one is done.
///
/// Launch: any grid of C.threads threads (quantiseBlocks()).
template <QuantiseConfig C>
__global__ void __launch_bounds__(C.threads) quantise(const __grid_constant__ QuantiseArgs args) {
  ptx::waitForPrevious();
  ptx::startNext();
  constexpr uint32_t together = kQuantiseTogether, halves = C.threads / 16;
  const uint32_t perRow = ceilDivide(args.k, kFp8Block), stride = gridDim.x * halves;
  const uint32_t used = args.rowsInUse ? static_cast<uint32_t>(*args.rowsInUse) : args.numRows;
  const uint32_t total = used * perRow, half = threadIdx.x / 16 % 2;
  __shared__ int32_t fewSlots[C.threads / 32][kFewPairs], blockSlots[kBlockRows];
  int32_t *few = fewSlots[threadIdx.x / 32];
  if (args.few.ids && isFew(args.few)) {
    tile::writeFewSlots(args.few, few);
  } else if (args.few.ids) {
    findBlockSlots<C>(args.few, blockSlots);
    few = blockSlots;
  }
  // Warps stay whole, for the shuffles: the first block of a warp decides.
  for (uint32_t first = blockIdx.x * halves + threadIdx.x / 32 * 2; first < total; first += stride * together) {
    QuantiseItem<C> items[together];
    uint4 loaded[together]; // all loads first, so that they are under way together
    int32_t slots[together];
#pragma unroll
    for (uint32_t i = 0; i < together; ++i) {
      const uint32_t index = first + half + i * stride;
      const bool exists = index < total;
      items[i] = {exists ? index / perRow : 0, exists ? index % perRow : 0, exists};
      const bool valid = exists && items[i].column() < args.k;
      loaded[i] = ptx::load16(tile::elementAt(args.rows, items[i].row, args.k, valid ? items[i].column() : 0), valid);
      slots[i] = items[i].laneSlot(args, few, 0);
    }
#pragma unroll
    for (uint32_t i = 0; i < together; ++i) {
      const BlockPart<C.element> part(loaded[i]);
      const float most = part.most();
      storeQuantised(args, items[i], few, slots[i], part.times(kFp8Most / most), most / kFp8Most);
    }
  }
}

} // namespace moec
