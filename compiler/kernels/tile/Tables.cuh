// The tables that tell GEMMs where an expert's rows and tiles are.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// Where the tile table goes, and its order.
struct TileTable {
  const int32_t *plannedOrder; ///< [E] or null
  TileHead *head;              ///< [1]
  TokenTile *tiles;            ///< [head->tokenTiles]
  uint32_t tileTokens;
  uint32_t mixRows; ///< as DispatchArgs'
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

/// Experts in the order in which they run, in shared memory.
template <uint32_t Experts> struct ExpertPlaces {
  uint32_t expertAt[Experts];
  uint32_t firstTile[Experts + 1]; // of the expert at each place
  uint32_t severalExperts;         // those with several tiles
};

/// Finds experts' places, by one warp: the planned order, or, where tiles mix (DispatchArgs::mixRows), experts with
/// several tiles before the others, each kind in the planned order.
template <uint32_t Experts> struct PlaceFinder {
  /// Experts with several tiles and their rows, and experts with one.
  struct Counts {
    uint32_t severalExperts = 0, severalRows = 0, singleExperts = 0;
  };

  const TileTable &table;
  const int32_t *rows; // [Experts], in shared memory
  ExpertPlaces<Experts> &shared;

  __device__ void run() const {
    const Counts counts = count();
    const bool mixed = counts.singleExperts > 0 && counts.severalExperts > 0 &&
                       counts.severalRows >= static_cast<uint64_t>(table.mixRows) * counts.singleExperts;
    const uint32_t inFront = mixed ? countSeveralTiles() : 0;
    const uint32_t all = mixed ? setPlaces<true>(counts.severalExperts, inFront) : setPlaces<false>(0, 0);
    if (threadIdx.x % 32 > 0)
      return;
    shared.firstTile[Experts] = all;
    shared.severalExperts = counts.severalExperts;
    const uint64_t fraction = mixed ? (static_cast<uint64_t>(inFront) << 32) / all : 0;
    *table.head = {all, inFront, static_cast<uint32_t>(fraction), 0};
  }

private:
  __device__ uint32_t tilesOf(uint32_t expert) const {
    return ceilDivide(static_cast<uint32_t>(rows[expert]), table.tileTokens);
  }

  /// Without a division, since most steps need no more.
  __device__ Counts count() const {
    Counts counts;
    for (uint32_t expert = threadIdx.x % 32; expert < Experts; expert += 32) {
      const uint32_t own = static_cast<uint32_t>(rows[expert]);
      const bool several = own > table.tileTokens;
      counts.severalExperts += several;
      counts.severalRows += several ? own : 0;
      counts.singleExperts += !several && own > 0;
    }
    if (!__any_sync(allLanes, counts.severalExperts > 0))
      return {};
    return {warpTotal(counts.severalExperts), warpTotal(counts.severalRows), warpTotal(counts.singleExperts)};
  }

  __device__ uint32_t countSeveralTiles() const {
    uint32_t tiles = 0;
    for (uint32_t expert = threadIdx.x % 32; expert < Experts; expert += 32)
      if (const uint32_t own = tilesOf(expert); own > 1)
        tiles += own;
    return warpTotal(tiles);
  }

  /// Returns how many tiles there are. `places` and `tiles` are those in front of the other experts'.
  template <bool Mixed> __device__ uint32_t setPlaces(uint32_t places, uint32_t tiles) const {
    uint32_t frontPlaces = 0, frontTiles = 0;
    for (uint32_t first = 0; first < Experts; first += 32) {
      const uint32_t lane = threadIdx.x % 32, i = first + lane;
      const uint32_t expert = i < Experts && table.plannedOrder ? static_cast<uint32_t>(table.plannedOrder[i]) : i;
      const uint32_t own = i < Experts ? tilesOf(expert) : 0;
      const bool inFront = Mixed && own > 1;
      const uint32_t before = warpPrefix(inFront ? 0 : own);
      uint32_t at = places + lane, firstTile = tiles + before;
      places += 32;
      tiles += __shfl_sync(allLanes, before + (inFront ? 0 : own), 31);
      if constexpr (Mixed) {
        const uint32_t lanes = __ballot_sync(allLanes, inFront), below = __popc(lanes & ((1u << lane) - 1)),
                       frontBefore = warpPrefix(inFront ? own : 0);
        at = inFront ? frontPlaces + below : at - below;
        firstTile = inFront ? frontTiles + frontBefore : firstTile;
        frontPlaces += __popc(lanes);
        places -= __popc(lanes);
        frontTiles += __shfl_sync(allLanes, frontBefore + (inFront ? own : 0), 31);
      }
      if (i < Experts) {
        shared.expertAt[at] = expert;
        shared.firstTile[at] = firstTile;
      }
    }
    return tiles;
  }
};

/// Writes the tiles of experts with `rows` [Experts] rows (shared memory), the first of which has slot
/// `firstSlot(expert)`. By all threads of a block. `rows` lie behind a barrier; what `firstSlot` reads need only be
/// written before the call.
template <uint32_t Experts, uint32_t Threads, class FirstSlot>
__device__ void writeTiles(const TileTable &table, const int32_t *rows, FirstSlot firstSlot) {
  __shared__ ExpertPlaces<Experts> places;
  if (threadIdx.x / 32 == (Threads > 32 ? 1 : 0)) // the first warp may be scanning slots
    PlaceFinder<Experts>{table, rows, places}.run();
  __syncthreads();
  const auto entryOf = [&](uint32_t place) {
    const uint32_t expert = places.expertAt[place], slot = firstSlot(expert);
    return TokenTile{expert, places.firstTile[place], slot, slot + static_cast<uint32_t>(rows[expert])};
  };
  for (uint32_t place = threadIdx.x; place < Experts; place += Threads)
    if (places.firstTile[place] < places.firstTile[place + 1])
      table.tiles[places.firstTile[place]] = entryOf(place);
  if (places.severalExperts == 0)
    return;
  // The other tiles, by a warp an expert: a hot one has many.
  for (uint32_t place = threadIdx.x / 32; place < Experts; place += Threads / 32) {
    const TokenTile entry = entryOf(place);
    for (uint32_t tile = entry.firstTile + 1 + threadIdx.x % 32; tile < places.firstTile[place + 1]; tile += 32)
      table.tiles[tile] = entry;
  }
}

} // namespace moec::tile
