// Steps of few pairs: what dispatch would have written, found by each block for itself. No launch stands between the
// ids and the products, which saves 1 to 7 us of a step of one token.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// A pair's place among those of its step.
struct FewPlace {
  uint32_t expert;       ///< numExperts: padding, or no pair
  uint32_t lower, alike; ///< lanes whose pairs have an expert before this one, or this one

  __device__ uint32_t before() const; // of the same expert
};

inline __device__ uint32_t FewPlace::before() const { return __popc(alike & lanesBelow()); }

/// Lanes that have the same value, of 0 to `most`. By all lanes of a warp.
inline __device__ uint32_t alikeLanes(uint32_t value, uint32_t most) {
  uint32_t alike = allLanes;
  for (uint32_t bit = 32 - __clz(most); bit-- > 0;) {
    const bool mine = value >> bit & 1;
    const uint32_t set = __ballot_sync(allLanes, mine);
    alike &= mine ? set : ~set;
  }
  return alike;
}

/// By all lanes of a warp, each for the pair of its number. Bit by bit from the highest: who has it comes behind those
/// who do not, among those alike so far. (Comparing 32 pairs one after the other took 1 to 2 us.)
inline __device__ FewPlace fewPlace(const FewPairs &few) {
  static_assert(kFewPairs == 32, "a lane has a pair");
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t id = lane < few.numTokens * few.topK ? static_cast<uint32_t>(few.ids[lane]) : few.numExperts;
  FewPlace place{id < few.numExperts ? id : few.numExperts, 0, allLanes};
  for (uint32_t bit = 32 - __clz(few.numExperts); bit-- > 0;) {
    const bool mine = place.expert >> bit & 1;
    const uint32_t set = __ballot_sync(allLanes, mine);
    place.lower |= mine ? place.alike & ~set : 0;
    place.alike &= mine ? set : ~set;
  }
  return place;
}

/// The pair's slot: an expert's follow each other in the order of its pairs, behind those of the experts before it and
/// a joined one. -1 for padding.
inline __device__ int32_t fewSlot(const FewPairs &few, const FewPlace &place) {
  const uint32_t slot = few.joined * few.numTokens + __popc(place.lower) + place.before();
  return place.expert < few.numExperts ? static_cast<int32_t>(slot) : -1;
}

/// Leaves all pairs' slots where the lanes of the warp find them by pair: [kFewPairs] of shared memory, the warp's own.
inline __device__ void writeFewSlots(const FewPairs &few, int32_t *slots) {
  slots[threadIdx.x % 32] = fewSlot(few, fewPlace(few));
  __syncwarp();
}

/// Pairs of 32 experts, one a lane. By all lanes.
inline __device__ uint32_t fewCounts(const FewPlace &place, uint32_t expert) {
  uint32_t count = 0, first = uniform(expert);
  for (uint32_t pairs = __ballot_sync(allLanes, place.expert / 32 == first / 32); pairs; pairs &= pairs - 1)
    count += __shfl_sync(allLanes, place.expert, 31 - __clz(pairs & (0 - pairs))) == expert;
  return count;
}

/// A TokenTile in half as many bytes, whose fields are below 2^16.
inline __device__ uint2 packTile(const TokenTile &tile) {
  return make_uint2(tile.expert | tile.firstTile << 16, tile.firstSlot | tile.endSlot << 16);
}
inline __device__ TokenTile unpackTile(const uint2 &tile) {
  return {tile.x & 0xffff, tile.x >> 16, tile.y & 0xffff, tile.y >> 16};
}

/// The tables of a block, in shared memory; fields as GroupedGemmArgs'.
template <GemmConfig C> struct FewTables {
  static constexpr uint32_t leastTile = 16;             // rows; a joined expert has as many as there are tokens
  static constexpr bool ofBlock = mayFindBlockPairs(C); // (tile/BlockPairs.cuh: each row may be a tile)
  static constexpr uint32_t mostTiles = ofBlock ? kBlockRows : kFewPairs + kFewPairs / leastTile,
                            mostRows = ofBlock ? kBlockRows : 2 * kFewPairs;

  uint2 tiles[mostTiles]; // packTile()
  int32_t slotPair[mostRows];
  uint32_t tokenTiles;
};

template <GemmConfig C> __device__ FewTables<C> &fewTables() {
  __shared__ FewTables<C> tables;
  static_assert(sizeof(tables) <= (FewTables<C>::ofBlock ? kBlockTableBytes : kFewTableBytes));
  return tables;
}

/// Where the pair of each slot is.
template <GemmConfig C> __device__ const int32_t *slotPairOf(const GroupedGemmArgs &args) {
  return args.few.ids ? fewTables<C>().slotPair : args.slotPair;
}

/// Fills the block's tables. By one warp, whose lanes see them then; others behind a barrier.
template <GemmConfig C> __device__ void writeFewTables(const FewPairs &few) {
  static_assert(C.tileTokens >= FewTables<C>::leastTile && kFewPairs <= 2 * FewTables<C>::leastTile,
                "two tiles at most");
  FewTables<C> &tables = fewTables<C>();
  const uint32_t lane = threadIdx.x % 32;
  const FewPlace place = fewPlace(few);
  const uint32_t rows = __popc(place.alike);
  const bool isReal = place.expert < few.numExperts, isFirst = isReal && place.before() == 0;
  const uint32_t joinedRows = few.joined * few.numTokens, joinedTiles = ceilDivide(joinedRows, C.tileTokens);
  const uint32_t withTile = __ballot_sync(allLanes, isFirst),
                 withTwo = __ballot_sync(allLanes, isFirst && rows > C.tileTokens);
  if (isReal)
    tables.slotPair[fewSlot(few, place)] = static_cast<int32_t>(lane);
  if (isFirst) {
    const uint32_t tile = joinedTiles + __popc(place.lower & withTile) + __popc(place.lower & withTwo);
    const uint32_t slot = joinedRows + __popc(place.lower);
    const TokenTile entry{place.expert + few.joined, tile, slot, slot + rows};
    tables.tiles[tile] = packTile(entry);
    if (rows > C.tileTokens)
      tables.tiles[tile + 1] = packTile(entry);
  }
  if (lane < joinedRows)
    tables.slotPair[lane] = static_cast<int32_t>(lane * few.topK);
  if (lane < joinedTiles)
    tables.tiles[lane] = packTile({0, 0, 0, joinedRows});
  if (lane == 0)
    tables.tokenTiles = joinedTiles + __popc(withTile) + __popc(withTwo);
  __syncwarp();
}

} // namespace moec::tile
