// Which tile a block computes next. The tile table comes from dispatch and stays on the device, so a launch needs no
// count on the host: the grid is fixed, and blocks stride over the tiles there are (or draw them, WorkFinder.cuh).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::tile {

/// One tile of work.
struct Work {
  uint32_t expert;
  uint32_t firstSlot;
  uint32_t rows;        ///< valid token rows, 1 .. tileTokens
  uint32_t firstColumn; ///< of the output
};

/// Tiles of columns, of all blocks of a cluster together.
template <GemmConfig C> __device__ uint32_t columnTiles(const GroupedGemmArgs &args) {
  constexpr uint32_t columns = outputColumns(C) * C.clusterBlocks;
  return (args.n + columns - 1) / columns;
}

template <GemmConfig C> __device__ uint32_t numDenseTiles(const GroupedGemmArgs &args) {
  return ceilDivide(args.numRows, C.tileTokens);
}

/// Which work item is computed when, where blocks stride over them (WorkKinds.cuh is for who draws, and says what the
/// kinds are). Where dispatch says that both kinds count (TileHead) they are spread evenly over the launch, each in the
/// order of the table, in which experts with several token tiles come first.
struct WorkOrder {
  /// Turns that are shared out together, those of experts with several tiles first: who shares weights or tokens begins
  /// at about the same time and finds them in the second-level cache. (Measured with 1: up to 5 % slower.)
  static constexpr uint32_t periodTiles = 128;

  uint32_t items, severalItems, fraction; // work items, those of experts with several tiles, and TileHead::fraction
  uint32_t period;                        // items

  template <GemmConfig C> static __device__ WorkOrder of(const GroupedGemmArgs &args) {
    static_assert(C.clusterBlocks == 1);
    constexpr uint32_t period = periodTiles;
    if constexpr (C.dense) {
      return {numDenseTiles<C>(args) * columnTiles<C>(args), 0, 0, period};
    } else {
      const TileHead head = *args.tileHead; // one access
      return {head.tokenTiles * columnTiles<C>(args), head.severalTiles * columnTiles<C>(args), head.fraction, period};
    }
  }

  /// The table's work item that is computed as `turn`-th; turns from `items` on have none and stay what they are. Each
  /// item has one turn: severalBefore() grows by one or nothing, to `severalItems` after all of them.
  __device__ uint32_t itemOf(uint32_t turn) const {
    if (turn >= items)
      return turn;
    const uint32_t begin = turn / period * period, before = severalBefore(begin), after = severalBefore(begin + period);
    const uint32_t first = before + (turn - begin); // if this turn is one of the period's first kind
    return first < after ? first : severalItems + turn - after;
  }

private:
  /// How many of the first `turns` are of experts with several token tiles: rounded up, as `fraction` was rounded down.
  __device__ uint32_t severalBefore(uint32_t turns) const {
    const uint32_t all = turns < items ? turns : items;
    return static_cast<uint32_t>((uint64_t{all} * fraction + 0xffffffffu) >> 32);
  }
};

/// The token tiles of an entry's expert.
template <GemmConfig C> __device__ uint32_t tilesOf(const TokenTile &entry) {
  return ceilDivide(entry.endSlot - entry.firstSlot, C.tileTokens);
}

/// Work item `index` of a dense product, in the order that findWork gives an expert's.
template <GemmConfig C> __device__ Work findDenseWork(const GroupedGemmArgs &args, uint32_t index) {
  const uint32_t tiles = numDenseTiles<C>(args);
  const uint32_t first = index % tiles * C.tileTokens, left = args.numRows - first;
  return {0, first, left < C.tileTokens ? left : C.tileTokens, index / tiles * outputColumns(C)};
}

/// Work item `index` of the table. All token tiles of an expert against one tile of its weights follow each other, so
/// that blocks that run at the same time read the same weights and the second-level cache serves all but one of them.
template <GemmConfig C> __device__ Work findWork(const GroupedGemmArgs &args, uint32_t index) {
  if constexpr (C.dense)
    return findDenseWork<C>(args, index);
  const uint32_t perTokenTile = columnTiles<C>(args);
  const TokenTile entry = args.tiles[index / perTokenTile];
  const uint32_t local = index - entry.firstTile * perTokenTile, tiles = tilesOf<C>(entry);

  Work work;
  work.expert = entry.expert;
  work.firstColumn = local / tiles * outputColumns(C);
  work.firstSlot = entry.firstSlot + local % tiles * C.tileTokens;
  const uint32_t left = entry.endSlot - work.firstSlot;
  work.rows = left < C.tileTokens ? left : C.tileTokens;
  return work;
}

/// The row of `args.tokens` that row `row` of the tile reads; rows past the valid ones repeat the first. `slotPair` is
/// args.slotPair or what stands for it (FewPairs.cuh).
template <GemmConfig C>
__device__ uint32_t sourceRow(const GroupedGemmArgs &args, const int32_t *slotPair, const Work &work, uint32_t row) {
  const uint32_t slot = work.firstSlot + (row < work.rows ? row : 0);
  if constexpr (C.role == GemmRole::GateUp && !C.dense)
    return static_cast<uint32_t>(slotPair[slot]) / args.topK;
  else
    return slot;
}

} // namespace moec::tile
