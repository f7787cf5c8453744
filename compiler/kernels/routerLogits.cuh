// The router's product: from hidden states to logits.
//
// Its matrix is small and read by every block from the second-level cache, so there is little to
// stage in shared memory: each warp of a block takes an eighth of the sum, loads fragments straight
// into registers, and the warps' sums are added in a fixed order. Few tokens: tiles of few experts
// spread the weights over many multiprocessors. Many tokens and experts: large tiles
// (StagedRouter.cuh; routerLogitsSm90.cuh), which add in the same order.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Load.cuh"
#include "compiler/kernels/tile/RouterPlace.cuh"
#include "compiler/kernels/tile/StagedRouter.cuh"

namespace moec {

/// One block's tile of logits whose sum its warps share out.
template <RouterGemmConfig C> struct SplitRouterTile {
  static constexpr uint32_t rowBlocks = (C.tileTokens + 15) / 16, halves = C.tileTokens < 16 ? 1 : 2;
  static constexpr uint32_t columnBlocks = (C.tileExperts + 7) / 8;
  static constexpr uint32_t loads = halves * rowBlocks + columnBlocks; // of a lane, a chunk
  // Chunks whose loads are under way together: what 128 registers hold beside the sums.
  static constexpr uint32_t room = (128 - rowBlocks * columnBlocks * 4) / (loads * 4);
  static constexpr uint32_t inFlight = room > 8 ? 8 : room > 0 ? room : 1;
  // The warps' sums meet in shared memory so many blocks of eight columns at a time: at most 32 KB.
  static constexpr uint32_t sliceBlocks = columnBlocks * C.tileTokens <= 128 ? columnBlocks : 128 / C.tileTokens;
  static constexpr uint32_t sliceColumns = sliceBlocks * 8;
  static_assert((C.tileTokens == 8 || C.tileTokens % 16 == 0) && C.tileTokens <= 128 &&
                    rowBlocks * columnBlocks * 4 <= 128,
                "the sums fit into registers");
  static_assert(C.tileExperts % 8 == 0 || C.tileExperts < 8, "whole blocks of columns, or part of one");
  static_assert(columnBlocks % sliceBlocks == 0, "whole slices");

  using Shared = float[kRouterWarps][C.tileTokens][sliceColumns];

  const tile::RouterPlace<C> &place;
  const uint32_t hiddenSize;
  uint32_t warp, row, part; // this lane's row of eight and its quarter of a chunk
  float sums[rowBlocks][columnBlocks][4];

  __device__ explicit SplitRouterTile(const tile::RouterPlace<C> &place)
      : place(place), hiddenSize(place.args.hiddenSize), warp(threadIdx.x / 32), row(threadIdx.x % 32 / 4),
        part(threadIdx.x % 4), sums{} {}

  struct Fragments {
    uint4 token[rowBlocks][2]; // rows `row` and `row` + 8 of sixteen
    uint4 weight[columnBlocks];
  };

  struct Rows {
    const uint8_t *token[rowBlocks][2], *weight[columnBlocks];
  };

  /// Adds `Count` of the warp's chunks from `first` on, loading all before multiplying any.
  /// `Whole`: none of them ends past the sum or past `end`, so nothing is asked of each.
  template <uint32_t Count, bool Whole> __device__ void multiplyBatch(const Rows &rows, uint32_t first, uint32_t end) {
    Fragments fragments[Count];
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      const uint32_t element = (first + i) * kRouterChunk;
      const bool inSum = Whole || (first + i < end && element + part * 8 < hiddenSize);
#pragma unroll
      for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half)
          fragments[i].token[m][half] =
              half < halves ? ptx::load16(rows.token[m][half] + element * 2, inSum) : make_uint4(0, 0, 0, 0);
#pragma unroll
      for (uint32_t n = 0; n < columnBlocks; ++n)
        fragments[i].weight[n] = ptx::load16(rows.weight[n] + element * 2, inSum);
    }
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i)
#pragma unroll
      for (uint32_t m = 0; m < rowBlocks; ++m)
        tile::multiplyRouterRows<C.element>(sums[m], fragments[i].token[m], fragments[i].weight);
  }

  /// This warp's share of the sum: of each plane.
  __device__ void multiplyPlane(uint32_t plane) {
    Rows rows;
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half)
        rows.token[m][half] = place.tokenRow(m * 16 + half * 8 + row) + part * 16;
#pragma unroll
    for (uint32_t n = 0; n < columnBlocks; ++n)
      rows.weight[n] = place.weightRow(n * 8 + row, plane) + part * 16;

    constexpr uint32_t tail = inFlight < 4 ? 1 : 4;
    const tile::RouterShare share(hiddenSize, warp);
    const uint32_t whole = hiddenSize / kRouterChunk < share.end ? hiddenSize / kRouterChunk : share.end;
    uint32_t next = share.begin;
    for (; next + inFlight <= whole; next += inFlight)
      multiplyBatch<inFlight, true>(rows, next, share.end);
    for (; next < share.end; next += tail)
      multiplyBatch<tail, false>(rows, next, share.end);
  }

  /// Adds the warps' sums, in the order of the warps, and stores the logits. Ends with a barrier.
  __device__ void store(Shared &shared) const {
#pragma unroll
    for (uint32_t first = 0; first < columnBlocks; first += sliceBlocks) {
#pragma unroll
      for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
        for (uint32_t n = 0; n < sliceBlocks; ++n)
#pragma unroll
          for (uint32_t i = 0; i < halves * 2; ++i)
            shared[warp][m * 16 + i / 2 * 8 + row][n * 8 + part * 2 + i % 2] = sums[m][first + n][i];
      __syncthreads();
      for (uint32_t i = threadIdx.x; i < C.tileTokens * sliceColumns; i += routerThreads(C))
        storeOne(shared, i / sliceColumns, first * 8, i % sliceColumns);
      __syncthreads();
    }
  }

  __device__ void storeOne(const Shared &shared, uint32_t rowInTile, uint32_t sliceBegin,
                           uint32_t columnInSlice) const {
    float sum = shared[0][rowInTile][columnInSlice];
#pragma unroll
    for (uint32_t w = 1; w < kRouterWarps; ++w)
      sum += shared[w][rowInTile][columnInSlice];
    place.store(rowInTile, sliceBegin + columnInSlice, sum);
  }

  /// Ends with a barrier.
  __device__ void run() {
    __shared__ Shared shared;
    for (uint32_t plane = 0; plane < place.args.planes; ++plane)
      multiplyPlane(plane);
    store(shared);
  }
};

template <RouterGemmConfig C, bool Staged> struct RouterTileOf {
  using Type = SplitRouterTile<C>;
};
template <RouterGemmConfig C> struct RouterTileOf<C, true> {
  using Type = StagedRouterTile<C>;
};

/// Logits of all tokens (KernelAbi.h, RouterGemmArgs).
///
/// Launch: any grid (routerBlocks() takes one turn), routerThreads(C) threads, routerSharedBytes(C).
template <RouterGemmConfig C>
__global__ void __launch_bounds__(routerThreads(C), 1) routerLogits(const __grid_constant__ RouterGemmArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  using Tile = typename RouterTileOf<C, isStaged(C)>::Type;
  const uint32_t tiles = routerBlocks(C, args.numTokens, args.numExperts + (args.extraRow ? 1 : 0));
  for (uint32_t index = blockIdx.x; index < tiles; index += gridDim.x) {
    const tile::RouterPlace<C> place(args, index);
    Tile(place).run();
  }
}

} // namespace moec
