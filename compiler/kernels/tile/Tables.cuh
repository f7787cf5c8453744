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

/// Of `count` things that follow each other, how many a lane has: one prefix over the warp serves all of them, where a
/// lane for each would need one for every 32.
constexpr uint32_t perLane(uint32_t count) { return ceilDivide(count, 32); }

/// Gives `store(i, sum of value(0) .. value(i - 1))` for every i below `Count`, and returns the whole sum. By one warp.
template <uint32_t Count, class Value, class Store> __device__ int32_t warpScan(Value value, Store store) {
  const uint32_t first = threadIdx.x % 32 * perLane(Count);
  int32_t own[perLane(Count)], sum = 0;
#pragma unroll
  for (uint32_t j = 0; j < perLane(Count); ++j)
    sum += own[j] = first + j < Count ? value(first + j) : 0;
  int32_t before = warpPrefix(sum);
  const int32_t total = __shfl_sync(allLanes, before + sum, 31);
#pragma unroll
  for (uint32_t j = 0; j < perLane(Count); ++j) {
    if (first + j < Count)
      store(first + j, before);
    before += own[j];
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
  /// Without a division where one tile is enough, as it is for all experts in most steps.
  __device__ uint32_t tilesOf(uint32_t expert) const {
    const uint32_t own = static_cast<uint32_t>(rows[expert]);
    return own > table.tileTokens ? ceilDivide(own, table.tileTokens) : own > 0;
  }

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
    constexpr uint32_t count = perLane(Experts);
    const uint32_t first = threadIdx.x % 32 * count;
    uint32_t expert[count], own[count], frontPlaces = 0, frontTiles = 0, otherTiles = 0; // of this lane
#pragma unroll
    for (uint32_t j = 0; j < count; ++j) {
      const uint32_t i = first + j;
      expert[j] = i < Experts && table.plannedOrder ? static_cast<uint32_t>(table.plannedOrder[i]) : i;
    }
#pragma unroll
    for (uint32_t j = 0; j < count; ++j) {
      own[j] = first + j < Experts ? tilesOf(expert[j]) : 0;
      const bool inFront = Mixed && own[j] > 1;
      frontPlaces += inFront;
      frontTiles += inFront ? own[j] : 0;
      otherTiles += inFront ? 0 : own[j];
    }
    uint32_t frontPlace = Mixed ? warpPrefix(frontPlaces) : 0, frontTile = Mixed ? warpPrefix(frontTiles) : 0;
    uint32_t place = places + first - frontPlace, tile = tiles + warpPrefix(otherTiles);
    const uint32_t all = __shfl_sync(allLanes, tile + otherTiles, 31);
#pragma unroll
    for (uint32_t j = 0; j < count; ++j) {
      if (first + j >= Experts)
        break;
      const bool inFront = Mixed && own[j] > 1;
      const uint32_t at = inFront ? frontPlace++ : place++;
      shared.expertAt[at] = expert[j];
      shared.firstTile[at] = inFront ? frontTile : tile;
      (inFront ? frontTile : tile) += own[j];
    }
    return all;
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
