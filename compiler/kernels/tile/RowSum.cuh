// Eight columns of a token's output.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/tile/Fragment.cuh"

namespace moec::tile {

/// Sums in f32, which start as +0, and what is added to them: expert outputs, rounded, times their weights.
template <Element E> struct RowSum {
  float sums[8] = {};

  __device__ void add(const uint4 &row, float weight) {
    const uint32_t packed[4] = {row.x, row.y, row.z, row.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      sums[i * 2] += weight * ptx::Convert<E>::low(packed[i]);
      sums[i * 2 + 1] += weight * ptx::Convert<E>::high(packed[i]);
    }
  }

  __device__ void store(void *to) const {
    uint32_t packed[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i)
      packed[i] = ptx::Convert<E>::pack(sums[i * 2], sums[i * 2 + 1]);
    store16(to, packed);
  }
};

} // namespace moec::tile
