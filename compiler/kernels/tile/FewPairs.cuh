// Steps of few pairs: what dispatch would have written, found by each block for itself. No launch stands between the
// ids and the products, which saves 2 to 5 us of a step of one token.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// The slots of a token's pairs: an expert's follow each other in the order of its pairs, behind those of the experts
/// before it and a joined one. -1 for padding, which as a number is above all experts.
template <uint32_t K> __device__ void fewSlots(const FewPairs &few, uint32_t token, int32_t (&slots)[K]) {
  uint32_t own[K], before[K];
#pragma unroll
  for (uint32_t k = 0; k < K; ++k) {
    own[k] = static_cast<uint32_t>(few.ids[token * K + k]);
    before[k] = few.joined * few.numTokens;
  }
  for (uint32_t pair = 0; pair < few.numTokens * K; ++pair) {
    const auto other = static_cast<uint32_t>(few.ids[pair]);
#pragma unroll
    for (uint32_t k = 0; k < K; ++k)
      before[k] += other < own[k] || (other == own[k] && pair < token * K + k);
  }
#pragma unroll
  for (uint32_t k = 0; k < K; ++k)
    slots[k] = own[k] < few.numExperts ? static_cast<int32_t>(before[k]) : -1;
}

/// The slot of one pair. (Apart from fewSlots: by an array of one, quantise spills.)
inline __device__ int32_t fewSlot(const FewPairs &few, uint32_t pair) {
  const auto own = static_cast<uint32_t>(few.ids[pair]);
  uint32_t before = few.joined * few.numTokens;
  for (uint32_t i = 0; i < few.numTokens * few.topK; ++i) {
    const auto other = static_cast<uint32_t>(few.ids[i]);
    before += other < own || (other == own && i < pair);
  }
  return own < few.numExperts ? static_cast<int32_t>(before) : -1;
}

/// Pairs of an expert.
inline __device__ uint32_t fewCount(const FewPairs &few, uint32_t expert) {
  uint32_t count = 0;
  for (uint32_t pair = 0; pair < few.numTokens * few.topK; ++pair)
    count += static_cast<uint32_t>(few.ids[pair]) == expert;
  return count;
}

/// The tables of a block, in shared memory; fields as GroupedGemmArgs'.
struct FewTables {
  static constexpr uint32_t leastTile = 16; // rows; a joined expert has as many as there are tokens

  TokenTile tiles[kFewPairs + kFewPairs / leastTile];
  int32_t slotPair[2 * kFewPairs];
  uint32_t tokenTiles;
};

static_assert(sizeof(FewTables) <= kFewTableBytes);

inline __device__ FewTables &fewTables() {
  __shared__ FewTables tables;
  return tables;
}

/// Where the pair of each slot is.
inline __device__ const int32_t *slotPairOf(const GroupedGemmArgs &args) {
  return args.few.ids ? fewTables().slotPair : args.slotPair;
}

/// Fills the block's tables. By one warp, whose lanes see them then; others behind a barrier.
template <GemmConfig C> __device__ void writeFewTables(const FewPairs &few) {
  static_assert(C.tileTokens >= FewTables::leastTile && kFewPairs == 32, "a lane has a pair");
  FewTables &tables = fewTables();
  const uint32_t lane = threadIdx.x % 32, numPairs = few.numTokens * few.topK;
  const uint32_t expert = lane < numPairs ? static_cast<uint32_t>(few.ids[lane]) : few.numExperts;
  const uint32_t alike = __match_any_sync(allLanes, expert), rows = __popc(alike),
                 before = __popc(alike & ((1u << lane) - 1)); // of the same expert
  const bool isReal = expert < few.numExperts, isFirst = isReal && before == 0;
  const uint32_t joinedRows = few.joined * few.numTokens, joinedTiles = ceilDivide(joinedRows, C.tileTokens);
  const uint32_t own = isFirst ? ceilDivide(rows, C.tileTokens) : 0;
  uint32_t slot = joinedRows + before, firstTile = joinedTiles;
  for (uint32_t other = 0; other < numPairs; ++other) {
    const bool isLower = __shfl_sync(allLanes, expert, other) < expert;
    const uint32_t tiles = __shfl_sync(allLanes, own, other);
    slot += isLower;
    firstTile += isLower ? tiles : 0;
  }
  if (isReal)
    tables.slotPair[slot] = static_cast<int32_t>(lane);
  for (uint32_t tile = firstTile; tile < firstTile + own; ++tile)
    tables.tiles[tile] = {expert + few.joined, firstTile, slot, slot + rows};
  if (lane < joinedRows)
    tables.slotPair[lane] = static_cast<int32_t>(lane * few.topK);
  if (lane < joinedTiles)
    tables.tiles[lane] = {0, 0, 0, joinedRows};
  const uint32_t all = joinedTiles + warpTotal(own);
  if (lane == 0)
    tables.tokenTiles = all;
  __syncwarp();
}

} // namespace moec::tile
