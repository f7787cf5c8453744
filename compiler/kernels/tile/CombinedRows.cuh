// Where each token has one expert, a row of down is its token's output: down weighs and writes it there, and no combine
// has to read and write all rows again.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/Counters.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/RowSum.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// The multiplying threads' part in writing a tile's rows, 16 bytes at a time: each warp has rows of its own in each
/// turn.
template <GemmConfig C> struct CombinedRows {
  static constexpr uint32_t columns = 8, pieces = outputColumns(C) / columns; // of a thread, of a row
  static constexpr uint32_t rowsOfWarp = 32 / pieces, rowsOfTurn = multiplyingThreads(C) / pieces;
  static constexpr uint32_t turns = ceilDivide(C.tileTokens, rowsOfTurn);

  uint32_t token = 0; // of the row that this lane knows of
  float weight = 0;

  static __device__ uint32_t thread() { return threadIdx.x - 128; }
  static __device__ uint32_t firstRow() { return thread() / 32 * rowsOfWarp; }

  /// Looks up where the rows of a tile go, and begins to load what they weigh.
  __device__ void find(const GroupedGemmArgs &args, const Work &work) {
    const uint32_t lane = threadIdx.x % 32, row = lane / rowsOfWarp * rowsOfTurn + firstRow() + lane % rowsOfWarp;
    if (row >= work.rows)
      return;
    token = static_cast<uint32_t>(slotPairOf<C>(args)[work.firstSlot + row]);
    weight = args.pairWeights ? args.pairWeights[token] : 1.0f;
  }

  /// `at(row, piece)`: where 16 bytes of the tile's outputs lie in shared memory.
  template <class At> __device__ void write(const GroupedGemmArgs &args, const Work &work, At at) const {
    static_assert(32 % pieces == 0 && turns * rowsOfWarp <= 32, "a lane knows where a row of its warp goes");
    const uint32_t piece = threadIdx.x % pieces, column = work.firstColumn + piece * columns;
#pragma unroll 4
    for (uint32_t turn = 0; turn < turns; ++turn) {
      if (turn * rowsOfTurn >= work.rows)
        break;
      const uint32_t ofWarp = threadIdx.x % 32 / pieces, row = turn * rowsOfTurn + firstRow() + ofWarp;
      const uint32_t known = turn * rowsOfWarp + ofWarp;
      const uint64_t to = __shfl_sync(allLanes, token, known);
      const float times = __shfl_sync(allLanes, weight, known);
      if (row >= work.rows || column >= args.n)
        continue;
      uint32_t values[4];
      ptx::loadShared16(values, at(row, piece));
      RowSum<C.element> sum;
      sum.add(make_uint4(values[0], values[1], values[2], values[3]), times);
      sum.store(elementAt(args.output, to, args.n, column));
    }
  }
};

/// What combine would do besides: tokens without an expert (padding) get zeros, and a step that dispatch did not count
/// leaves its counts (few pairs; of more the tables' finder does). By the loading warp, which ends before those that
/// multiply.
inline __device__ void finishStep(const GroupedGemmArgs &args) {
  const uint32_t lane = threadIdx.x % 32;
  for (uint32_t first = blockIdx.x * 32; first < args.numRows; first += gridDim.x * 32) {
    const uint32_t token = first + lane;
    const bool isPadding = token < args.numRows && static_cast<uint32_t>(args.ids[token]) >= args.numExperts;
    for (uint32_t left = __ballot_sync(allLanes, isPadding); left; left &= left - 1) {
      const uint64_t row = first + __ffs(static_cast<int>(left)) - 1;
      for (uint32_t column = lane * 8; column < args.n; column += 32 * 8)
        store16(elementAt(args.output, row, args.n, column), {0, 0, 0, 0});
    }
  }
  if (args.few.ids && isFew(args.few) && blockIdx.x == gridDim.x - 1)
    sampleFewCounts(args.ring, args.few);
}

} // namespace moec::tile
