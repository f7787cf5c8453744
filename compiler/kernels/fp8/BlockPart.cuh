// Quantising rows that lie in memory: half a warp has a block of elements that share a scale. (QuantisedRows.cuh: rows
// in registers as wgmma leaves them, by the same rules.)
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/fp8/QuantisedRows.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Fp8.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// Of several blocks the largest values of sixteen lanes, all at once: one after the other, their shuffles would wait
/// for each other.
template <uint32_t Blocks> __device__ void sixteenLanesMost(float (&largest)[Blocks]) {
#pragma unroll
  for (uint32_t step = 8; step > 0; step /= 2)
#pragma unroll
    for (uint32_t i = 0; i < Blocks; ++i)
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(tile::allLanes, largest[i], step));
}

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
  /// The largest magnitude of the lane's own elements; NaN does not count.
  __device__ float ownMost() const {
    float largest = kFp8Least;
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i)
      largest = fmaxf(largest, fabsf(values[i]));
    return largest;
  }
  /// Of the sixteen lanes' elements.
  __device__ float most() const {
    float largest[1] = {ownMost()};
    sixteenLanesMost(largest);
    return largest[0];
  }

  /// Its codes, once they are multiplied by `factor`.
  __device__ uint2 times(float factor) const {
    return make_uint2(ptx::packE4M3(values[0] * factor, values[1] * factor, values[2] * factor, values[3] * factor),
                      ptx::packE4M3(values[4] * factor, values[5] * factor, values[6] * factor, values[7] * factor));
  }
};

} // namespace moec
