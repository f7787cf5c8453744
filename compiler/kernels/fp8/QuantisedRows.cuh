// Quantising rows whose elements lie in registers as wgmma leaves them (BlockPart.cuh: rows in memory, by the same
// rules).
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Fp8.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// An infinity would be cut off to 448 and pass for a number.
inline __device__ float finiteOrNan(float value) {
  return value - value == 0.0f ? value : __uint_as_float(0x7fffffffu);
}

/// A lane's part of a row of 128 elements that share a scale: of each piece of eight columns the two at 2 (lane % 4),
/// packed as they were rounded, since beside the sums of a tile registers are few.
template <Element E, uint32_t Pieces> struct Fp8LaneRow {
  static_assert(Pieces * 8 == kFp8Block);
  uint32_t pairs[Pieces];

  __device__ float low(uint32_t piece) const { return finiteOrNan(ptx::Convert<E>::low(pairs[piece])); }
  __device__ float high(uint32_t piece) const { return finiteOrNan(ptx::Convert<E>::high(pairs[piece])); }

  /// The largest magnitude of the row; NaN does not count. By all lanes of a warp.
  __device__ float most() const {
    float largest = kFp8Least;
#pragma unroll
    for (uint32_t piece = 0; piece < Pieces; ++piece)
      largest = fmaxf(largest, fmaxf(fabsf(low(piece)), fabsf(high(piece))));
#pragma unroll
    for (uint32_t step = 2; step > 0; step /= 2)
      largest = fmaxf(largest, __shfl_xor_sync(tile::allLanes, largest, step));
    return largest;
  }

  /// Writes the elements times `factor` into a swizzled panel. Neighbouring lanes exchange halves, so that each writes
  /// four columns of a piece at a time: the even one of one piece, the odd one of the next. By all lanes of a warp.
  __device__ void store(uint32_t panel, uint32_t row, float factor) const {
    const uint32_t lane = threadIdx.x % 4, odd = lane % 2;
#pragma unroll
    for (uint32_t piece = 0; piece < Pieces; piece += 2) {
      const uint32_t own =
          ptx::packE4M3(low(piece) * factor, high(piece) * factor, low(piece + 1) * factor, high(piece + 1) * factor);
      const uint32_t other = __shfl_xor_sync(tile::allLanes, own, 1);
      const uint32_t four = odd ? other >> 16 | (own & 0xffff0000u) : (own & 0xffffu) | other << 16;
      ptx::storeShared4(panel + tile::swizzled(row, piece / 2) + odd * 8 + lane / 2 * 4, four);
    }
  }
};

} // namespace moec
