// Quantise: rows of two-byte elements become e4m3 with a scale for each 128, and go to the slots of
// their pairs.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Fp8.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Load.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// A lane's eight elements of a block.
template <Element E> struct BlockPart {
  float values[8];

  __device__ explicit BlockPart(const uint4 &loaded) {
    const uint32_t packed[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      values[i * 2] = finiteOrNan(ptx::Convert<E>::low(packed[i]));
      values[i * 2 + 1] = finiteOrNan(ptx::Convert<E>::high(packed[i]));
    }
  }
  /// An infinity would be cut off to 448 and pass for a number.
  static __device__ float finiteOrNan(float value) {
    return value - value == 0.0f ? value : __uint_as_float(0x7fffffffu);
  }

  /// The largest magnitude of the sixteen lanes' elements; NaN does not count.
  __device__ float most() const {
    float largest = kFp8Least;
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i)
      largest = fmaxf(largest, fabsf(values[i]));
#pragma unroll
    for (uint32_t step = 8; step > 0; step /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(tile::allLanes, largest, step));
    return largest;
  }

  __device__ uint2 times(float factor) const {
    return make_uint2(ptx::packE4M3(values[0] * factor, values[1] * factor, values[2] * factor,
                                    values[3] * factor),
                      ptx::packE4M3(values[4] * factor, values[5] * factor, values[6] * factor,
                                    values[7] * factor));
  }
};

/// See QuantiseArgs. Waits for the kernel before it before it lets the next one start: that one may
/// then take for granted that whatever came before this one is done.
///
/// Launch: any grid of C.threads threads (quantiseBlocks()).
template <QuantiseConfig C>
__global__ void __launch_bounds__(C.threads) quantise(const __grid_constant__ QuantiseArgs args) {
  ptx::waitForPrevious();
  ptx::startNext();
  constexpr uint32_t together = kQuantiseTogether, halves = C.threads / 16;
  const uint32_t lane = threadIdx.x % 16, perRow = ceilDivide(args.k, kFp8Block);
  const uint32_t used = args.rowsInUse ? static_cast<uint32_t>(*args.rowsInUse) : args.numRows;
  const uint32_t total = used * perRow;
  // Warps stay whole, for the shuffles: the first block of a warp decides.
  for (uint32_t first = blockIdx.x * halves * together + threadIdx.x / 32 * 2; first < total;
       first += gridDim.x * halves * together) {
    uint4 loaded[together]; // all loads first, so that they are under way together
#pragma unroll
    for (uint32_t i = 0; i < together; ++i) {
      const uint32_t item = first + i * halves + threadIdx.x / 16 % 2,
                     column = item % perRow * kFp8Block + lane * 8;
      const bool valid = item < total && column < args.k;
      loaded[i] = ptx::load16(
          tile::elementAt(args.rows, valid ? item / perRow : 0, args.k, valid ? column : 0), valid);
    }
#pragma unroll
    for (uint32_t i = 0; i < together; ++i) {
      const uint32_t item = first + i * halves + threadIdx.x / 16 % 2;
      const BlockPart<C.element> part(loaded[i]);
      const float most = part.most();
      if (item >= total)
        continue;
      const uint2 packed = part.times(kFp8Most / most);
      const uint32_t row = item / perRow, block = item % perRow,
                     column = block * kFp8Block + lane * 8;
      for (uint32_t pair = 0; pair < args.topK; ++pair) {
        const int32_t slot = args.slotOfPair
                                 ? args.slotOfPair[static_cast<uint64_t>(row) * args.topK + pair]
                                 : static_cast<int32_t>(row);
        if (slot < 0)
          continue;
        if (column < args.k)
          *reinterpret_cast<uint2 *>(args.quantised + static_cast<uint64_t>(slot) * args.k +
                                     column) = packed;
        if (lane == 0)
          args.scales[static_cast<uint64_t>(block) * args.scaleStride +
                      static_cast<uint32_t>(slot)] = most / kFp8Most;
      }
    }
  }
}

} // namespace moec
