// The tables that tell GEMMs where an expert's rows and tiles are.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// Where the tile table goes, and its order.
struct TileTable {
  const int32_t *expertOrder; ///< [E] or null
  int32_t *tileBegin;         ///< [E + 1]
  int32_t *tilePlace;         ///< [tileBegin[E]]
  uint32_t tileTokens;
};

/// Gives `store(i, sum of value(0) .. value(i - 1))` for every i below `Count`, and returns the whole sum. By one warp.
template <uint32_t Count, class Value, class Store> __device__ int32_t warpScan(Value value, Store store) {
  int32_t total = 0;
  for (uint32_t first = 0; first < Count; first += 32) {
    const uint32_t i = first + threadIdx.x % 32;
    const int32_t mine = i < Count ? value(i) : 0;
    const int32_t before = total + warpPrefix(mine);
    if (i < Count)
      store(i, before);
    total = __shfl_sync(allLanes, before + mine, 31);
  }
  return total;
}

/// Writes the tiles of experts with `rows` [Experts] (shared memory) rows. All threads of a block; what they wrote to
/// shared memory before is seen after.
template <uint32_t Experts, uint32_t Threads> __device__ void writeTiles(const TileTable &table, const int32_t *rows) {
  if (threadIdx.x / 32 == (Threads > 32 ? 1 : 0)) { // the first warp may be scanning slots
    const auto tilesAt = [&](uint32_t place) {
      const uint32_t expert = table.expertOrder ? static_cast<uint32_t>(table.expertOrder[place]) : place;
      return static_cast<int32_t>(ceilDivide(static_cast<uint32_t>(rows[expert]), table.tileTokens));
    };
    const int32_t tiles =
        warpScan<Experts>(tilesAt, [&](uint32_t place, int32_t first) { table.tileBegin[place] = first; });
    if (threadIdx.x % 32 == 0)
      table.tileBegin[Experts] = tiles;
  }
  __syncthreads();
  // A warp per expert: a hot one has many tiles.
  for (uint32_t place = threadIdx.x / 32; place < Experts; place += Threads / 32) {
    const int32_t first = table.tileBegin[place], last = table.tileBegin[place + 1];
    for (int32_t tile = first + static_cast<int32_t>(threadIdx.x % 32); tile < last; tile += 32)
      table.tilePlace[tile] = static_cast<int32_t>(place);
  }
}

} // namespace moec::tile
