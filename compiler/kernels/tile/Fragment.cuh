// Moving sums from registers to device memory.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::tile {

/// Transposes a 4x4 matrix of registers over the four lanes of a quad: before, lane t's values[b] is part t of block
/// b; after, lane t holds block t, parts 0 .. 3. In a fragment, a part is two columns and a block eight, so each lane
/// ends with eight consecutive columns of its row.
inline __device__ void quadTranspose(uint32_t (&values)[4]) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
  for (uint32_t i = 0; i < 4; i += 2) {
    const uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? values[i] : values[i + 1], 1);
    if (odd)
      values[i] = other;
    else
      values[i + 1] = other;
  }
  for (uint32_t i = 0; i < 2; ++i) {
    const uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? values[i] : values[i + 2], 2);
    if (upper)
      values[i] = other;
    else
      values[i + 2] = other;
  }
}

/// Address of two-byte element (row, column) of a row-major matrix.
inline __device__ uint8_t *elementAt(void *matrix, uint64_t row, uint32_t columns, uint32_t column) {
  return static_cast<uint8_t *>(matrix) + (row * columns + column) * 2;
}
inline __device__ const uint8_t *elementAt(const void *matrix, uint64_t row, uint32_t columns, uint32_t column) {
  return static_cast<const uint8_t *>(matrix) + (row * columns + column) * 2;
}

inline __device__ void store4(void *address, uint32_t value) { *static_cast<uint32_t *>(address) = value; }
inline __device__ void store16(void *address, const uint32_t (&values)[4]) {
  *static_cast<uint4 *>(address) = make_uint4(values[0], values[1], values[2], values[3]);
}

} // namespace moec::tile
