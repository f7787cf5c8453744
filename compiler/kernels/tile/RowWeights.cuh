// Router weights of a tile's token rows, where they are on the experts' input: the sums of gate and up are multiplied
// by them, which is what weights on the rows would give without rounding the rows once more. Rounded products, which no
// compiler joins with what follows: every family gives the same bits.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/Schedule.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// The weight of row `row` of the tile; 0 past the valid rows. `slotPair` as sourceRow()'s.
inline __device__ float weightAt(const GroupedGemmArgs &args, const int32_t *slotPair, const Work &work, uint32_t row) {
  return row < work.rows ? args.pairWeights[slotPair[work.firstSlot + row]] : 0.0f;
}

/// Weighs the sums of a tile whose token rows are the columns of the instruction's fragments, Width of them. Of each
/// eight a lane has two tokens, each for two weight rows: sums[block][eight * 4 + weightRow * 2 + token]. All lanes of
/// the warp take part.
template <uint32_t Width, uint32_t Blocks, uint32_t Sums>
__device__ void weighColumns(const GroupedGemmArgs &args, const int32_t *slotPair, const Work &work,
                             float (&sums)[Blocks][Sums]) {
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t first = 0; first < Width; first += 32) {
    if (first >= work.rows)
      break;
    const float own = weightAt(args, slotPair, work, first + lane); // a load serves the whole warp
#pragma unroll
    for (uint32_t eight = first / 8; eight < first / 8 + 4 && eight < Width / 8; ++eight)
#pragma unroll
      for (uint32_t token = 0; token < 2; ++token) {
        const float weight = __shfl_sync(allLanes, own, eight * 8 - first + lane % 4 * 2 + token);
#pragma unroll
        for (uint32_t block = 0; block < Blocks; ++block) {
          sums[block][eight * 4 + token] = __fmul_rn(sums[block][eight * 4 + token], weight);
          sums[block][eight * 4 + 2 + token] = __fmul_rn(sums[block][eight * 4 + 2 + token], weight);
        }
      }
  }
}

} // namespace moec::tile
