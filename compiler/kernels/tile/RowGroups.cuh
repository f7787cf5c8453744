// Which rows the copy engine fetches for a tile, one by one.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::tile {

/// Token rows of a tile, at most `Rows`, in groups of four; in shared memory, so that one thread has four in an access.
/// Rows of the last group that the tile has not repeat another, and come all the same.
template <uint32_t Rows> struct RowGroups {
  static constexpr uint32_t size = 4;
  static_assert(Rows % size == 0);

  static __device__ uint32_t of(uint32_t rows) { return (rows + size - 1) / size; }

  static __device__ uint4 rows(uint32_t group) { return table()[group]; }
  static __device__ uint32_t &row(uint32_t group, uint32_t which) {
    return reinterpret_cast<uint32_t *>(table())[group * size + which];
  }

private:
  static __device__ uint4 *table() {
    __shared__ uint4 groups[Rows / size];
    return groups;
  }
};

} // namespace moec::tile
