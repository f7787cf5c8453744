// Which tile a block computes next. The tile table comes from dispatch and stays on the device, so a launch needs no
// count on the host: the grid is fixed, and every block strides over the tiles there are.
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

/// Output columns of a tile: gate and up rows make one column together.
constexpr uint32_t outputColumns(const GemmConfig &c) {
  return c.role == GemmRole::GateUp ? c.tileWeights / 2 : c.tileWeights;
}

template <GemmConfig C> __device__ uint32_t columnTiles(const GroupedGemmArgs &args) {
  constexpr uint32_t columns = outputColumns(C);
  return (args.n + columns - 1) / columns;
}

template <GemmConfig C> __device__ uint32_t numWork(const GroupedGemmArgs &args) {
  const uint32_t tokenTiles =
      C.dense ? ceilDivide(args.numRows, C.tileTokens) : static_cast<uint32_t>(args.tileBegin[args.numExperts]);
  return tokenTiles * columnTiles<C>(args);
}

/// Work item `index` of a dense product, in the order that findWork gives an expert's.
template <GemmConfig C> __device__ Work findDenseWork(const GroupedGemmArgs &args, uint32_t index) {
  const uint32_t tiles = ceilDivide(args.numRows, C.tileTokens);
  const uint32_t first = index % tiles * C.tileTokens, left = args.numRows - first;
  return {0, first, left < C.tileTokens ? left : C.tileTokens, index / tiles * outputColumns(C)};
}

/// Work item `index` < numWork. All token tiles of an expert against one tile of its weights follow each other, so that
/// blocks that run at the same time read the same weights and the second-level cache serves all but one of them.
template <GemmConfig C> __device__ Work findWork(const GroupedGemmArgs &args, uint32_t index) {
  if constexpr (C.dense)
    return findDenseWork<C>(args, index);
  const uint32_t perTokenTile = columnTiles<C>(args);
  const uint32_t place = static_cast<uint32_t>(args.tilePlace[index / perTokenTile]);
  const uint32_t first = static_cast<uint32_t>(args.tileBegin[place]);
  const uint32_t tiles = static_cast<uint32_t>(args.tileBegin[place + 1]) - first;
  const uint32_t local = index - first * perTokenTile;

  Work work;
  work.expert = args.expertOrder ? static_cast<uint32_t>(args.expertOrder[place]) : place;
  work.firstColumn = local / tiles * outputColumns(C);
  const uint32_t begin = static_cast<uint32_t>(args.expertBegin[work.expert]);
  const uint32_t end = static_cast<uint32_t>(args.expertEnd[work.expert]);
  work.firstSlot = begin + local % tiles * C.tileTokens;
  work.rows = end - work.firstSlot < C.tileTokens ? end - work.firstSlot : C.tileTokens;
  return work;
}

/// The row of `args.tokens` that row `row` of the tile reads; rows past the valid ones repeat the first.
template <GemmConfig C> __device__ uint32_t sourceRow(const GroupedGemmArgs &args, const Work &work, uint32_t row) {
  const uint32_t slot = work.firstSlot + (row < work.rows ? row : 0);
  if constexpr (C.role == GemmRole::GateUp && !C.dense)
    return static_cast<uint32_t>(args.slotPair[slot]) / args.topK;
  else
    return slot;
}

} // namespace moec::tile
