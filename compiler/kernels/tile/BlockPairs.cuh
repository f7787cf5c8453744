// Steps of more pairs than a warp has lanes and yet few: what dispatch would have written, found by some warps of each
// block together. Between the ids and the products' first loads stand then a microsecond of counting in place of a
// launch that writes tables and one that reads them.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Counters.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// What the finding warps share.
template <uint32_t Warps> struct BlockCounts {
  uint16_t ofWarp[Warps]
                 [kMostFewExperts]; ///< pairs of each expert in a warp's part, then the slot of the first of them
  uint32_t found[Warps];            ///< slots, and tiles times 2^16, of the experts that a warp's lanes have
  uint32_t slots;                   ///< of all pairs and a joined expert

  /// Pairs of an expert, once slots are found.
  __device__ uint32_t pairsOf(uint32_t expert, uint32_t numExperts) const {
    return (expert + 1 < numExperts ? ofWarp[0][expert + 1] : slots) - ofWarp[0][expert];
  }
};

/// Finds pairs' slots, by the first `Warps` warps of a block, each of which has consecutive pairs: counts them by
/// expert, the first slots of experts and warps from the counts, and each pair's from how many came before it. Barrier:
/// a callable that waits for those warps.
template <uint32_t Warps, class Barrier> struct BlockPairs {
  static constexpr uint32_t threads = Warps * 32, rounds = ceilDivide(kBlockRows, threads);
  static constexpr uint32_t expertsOfThread = ceilDivide(kMostFewExperts, threads);

  const FewPairs &few;
  BlockCounts<Warps> &shared;
  uint32_t expert[rounds]; // of this lane's pairs; numExperts: padding, or no pair
  uint32_t before[rounds]; // of the same expert, in this warp

  __device__ BlockPairs(const FewPairs &few, BlockCounts<Warps> &shared) : few(few), shared(shared) {}

  /// `tile(i, entry)` gets the i-th token tile. Returns how many there are, in the last of the threads. What `tile`
  /// writes is to be seen behind the next barrier, as slots are behind this call.
  template <uint32_t TileTokens, class Tile> __device__ uint32_t find(Tile tile) {
    load();
    count();
    Barrier()();
    const uint32_t tiles = scan<TileTokens>(tile);
    Barrier()();
    return tiles;
  }

  /// `use(pair, slot)` gets all pairs of this lane. Slots are -1 for padding.
  template <class Use> __device__ void forSlots(Use use) const {
    const uint16_t *first = shared.ofWarp[warp()];
#pragma unroll
    for (uint32_t i = 0; i < rounds; ++i)
      if (const uint32_t pair = pairOf(i); i < usedRounds() && pair < numPairs())
        use(pair, expert[i] < few.numExperts ? static_cast<int32_t>(first[expert[i]] + before[i]) : -1);
  }

private:
  static __device__ uint32_t warp() { return threadIdx.x / 32; }
  static __device__ uint32_t lane() { return threadIdx.x % 32; }
  __device__ uint32_t numPairs() const { return few.numTokens * few.topK; }
  /// Rounds of 32 pairs that each warp has.
  __device__ uint32_t usedRounds() const { return ceilDivide(numPairs(), threads); }
  __device__ uint32_t pairOf(uint32_t round) const { return (warp() * usedRounds() + round) * 32 + lane(); }

  __device__ void load() {
#pragma unroll
    for (uint32_t i = 0; i < rounds; ++i) { // all of them under way together
      const uint32_t pair = pairOf(i);
      const uint32_t id = i < usedRounds() && pair < numPairs() ? static_cast<uint32_t>(few.ids[pair]) : few.numExperts;
      expert[i] = id < few.numExperts ? id : few.numExperts;
    }
  }

  __device__ void count() {
    uint16_t *counts = shared.ofWarp[warp()];
    for (uint32_t i = lane(); i < few.numExperts; i += 32)
      counts[i] = 0;
    __syncwarp();
#pragma unroll
    for (uint32_t i = 0; i < rounds; ++i) {
      if (i >= usedRounds())
        break;
      const uint32_t alike = alikeLanes(expert[i], few.numExperts);
      const bool isReal = expert[i] < few.numExperts;
      const uint32_t sofar = isReal ? counts[expert[i]] : 0, inFront = __popc(alike & lanesBelow());
      before[i] = sofar + inFront;
      __syncwarp(); // all have read
      if (isReal && inFront == 0)
        counts[expert[i]] = static_cast<uint16_t>(sofar + __popc(alike));
      __syncwarp();
    }
  }

  /// Each thread has consecutive experts.
  template <uint32_t TileTokens, class Tile> __device__ uint32_t scan(Tile tile) {
    const uint32_t perThread = ceilDivide(few.numExperts, threads), first = threadIdx.x * perThread;
    const uint32_t joinedRows = few.joined * few.numTokens, joinedTiles = ceilDivide(joinedRows, TileTokens);
    uint32_t rows[expertsOfThread], own = 0;
#pragma unroll
    for (uint32_t j = 0; j < expertsOfThread; ++j) {
      rows[j] = 0;
      if (j < perThread && first + j < few.numExperts)
#pragma unroll
        for (uint32_t w = 0; w < Warps; ++w)
          rows[j] += shared.ofWarp[w][first + j];
      own += rows[j] + (ceilDivide(rows[j], TileTokens) << 16);
    }
    uint32_t at = static_cast<uint32_t>(warpPrefix(static_cast<int32_t>(own)));
    if (lane() == 31)
      shared.found[warp()] = at + own;
    Barrier()();
    at += joinedRows + (joinedTiles << 16);
#pragma unroll
    for (uint32_t w = 0; w + 1 < Warps; ++w)
      at += w < warp() ? shared.found[w] : 0;
#pragma unroll
    for (uint32_t j = 0; j < expertsOfThread; ++j) {
      if (j >= perThread || first + j >= few.numExperts)
        break;
      const uint32_t slot = at & 0xffff, firstTile = at >> 16, tiles = ceilDivide(rows[j], TileTokens);
      for (uint32_t i = 0; i < tiles; ++i)
        tile(firstTile + i, TokenTile{first + j + few.joined, firstTile, slot, slot + rows[j]});
      uint32_t ofWarp = slot;
#pragma unroll
      for (uint32_t w = 0; w < Warps; ++w) {
        const uint32_t pairs = shared.ofWarp[w][first + j];
        shared.ofWarp[w][first + j] = static_cast<uint16_t>(ofWarp);
        ofWarp += pairs;
      }
      at += rows[j] + (tiles << 16);
    }
    for (uint32_t i = threadIdx.x; i < joinedTiles; i += threads)
      tile(i, TokenTile{0, 0, 0, joinedRows});
    if (threadIdx.x == threads - 1)
      shared.slots = at & 0xffff;
    return at >> 16;
  }
};

/// The loading warpgroup's: it has four warps.
struct LoadingBarrier {
  __device__ void operator()() const { ptx::namedBarrier<2, 128>(); }
};

/// Whether the tables of a product's block are found so.
template <GemmConfig C> __device__ bool findsBlockPairs(const FewPairs &few) {
  return mayFindBlockPairs(C) && few.ids && !isFew(few);
}

/// Fills the block's tables, and does what else of dispatch's work is left: gate-up leaves slots for combine, down the
/// step's counts for the host. By the four warps of the loading warpgroup, who see the tables then; others behind a
/// barrier.
template <GemmConfig C> __device__ void writeBlockTables(const GroupedGemmArgs &args) {
  __shared__ BlockCounts<4> counts;
  FewTables<C> &tables = fewTables<C>();
  static_assert(sizeof(tables) + sizeof(counts) <= kBlockTableBytes);
  const FewPairs &few = args.few;
  BlockPairs<4, LoadingBarrier> pairs(few, counts);
  const uint32_t tiles =
      pairs.template find<C.tileTokens>([&](uint32_t i, const TokenTile &entry) { tables.tiles[i] = packTile(entry); });
  if (threadIdx.x == 127)
    tables.tokenTiles = tiles;
  const bool tellsSlots = C.role == GemmRole::GateUp && blockIdx.x == 0 && few.slotOfPair;
  pairs.forSlots([&](uint32_t pair, int32_t slot) {
    if (slot >= 0)
      tables.slotPair[slot] = static_cast<int32_t>(pair);
    if (tellsSlots)
      few.slotOfPair[pair] = slot;
  });
  for (uint32_t token = threadIdx.x; token < few.joined * few.numTokens; token += 128)
    tables.slotPair[token] = static_cast<int32_t>(token * few.topK);
  LoadingBarrier()();
  if (C.role == GemmRole::Down && blockIdx.x == gridDim.x - 1 && threadIdx.x / 32 == 3) { // which has least to do
    ptx::waitForPrevious();
    sampleCounts(
        args.ring, few.numExperts, [&](uint32_t expert) { return counts.pairsOf(expert, few.numExperts); },
        few.numTokens * few.topK);
  }
}

} // namespace moec::tile
