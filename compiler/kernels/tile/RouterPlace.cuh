// What the router's tiles have in common: where a tile's rows are, how a piece of the sum is added,
// where a logit goes.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Mma.cuh"

namespace moec::tile {

/// The chunks of one of kRouterWarps shares of the sum: neighbours, so that what is read at a time
/// lies together in memory. Shares behind the end have none.
struct RouterShare {
  uint32_t begin, end;

  __device__ RouterShare(uint32_t hiddenSize, uint32_t share) {
    const uint32_t chunks = ceilDivide(hiddenSize, kRouterChunk), each = ceilDivide(chunks, kRouterWarps);
    begin = share * each;
    end = begin + each < chunks ? begin + each : chunks;
  }
};

/// sums += a chunk's products of sixteen tokens: 16 bytes a lane, four lanes a row. Which elements of the sum a lane
/// brings does not matter as long as both sides bring the same: its eight stand for columns 2t, 2t+1, 2t+8, 2t+9 of two
/// instructions, so that one adds up the first half of each 16 bytes and the next one the second. wgmma adds up the
/// same sixteen (RouterGatherer); their order within an instruction does not show, for tensor cores add them at once.
/// `token` has rows r and r + 8.
template <Element E, uint32_t ColumnBlocks>
__device__ void multiplyRouterRows(float (&sums)[ColumnBlocks][4], const uint4 (&token)[2],
                                   const uint4 (&weight)[ColumnBlocks]) {
  const uint4 &low = token[0], &high = token[1];
  const uint32_t first[4] = {low.x, high.x, low.y, high.y}, second[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
  for (uint32_t n = 0; n < ColumnBlocks; ++n) {
    ptx::Mma<E>::run(sums[n], first, weight[n].x, weight[n].y);
    ptx::Mma<E>::run(sums[n], second, weight[n].z, weight[n].w);
  }
}

/// A tile of logits.
template <RouterGemmConfig C> struct RouterPlace {
  const RouterGemmArgs &args;
  uint32_t numColumns; // experts, and the extra row
  uint32_t firstToken, firstColumn;

  __device__ RouterPlace(const RouterGemmArgs &args, uint32_t index)
      : args(args), numColumns(args.numExperts + (args.extraRow ? 1 : 0)) {
    const uint32_t columnTiles = ceilDivide(numColumns, C.tileExperts);
    firstToken = index / columnTiles * C.tileTokens;
    firstColumn = index % columnTiles * C.tileExperts;
  }

  /// Rows and columns past the last repeat it: their logits are not stored, and repeated loads cost
  /// no traffic.
  __device__ const uint8_t *tokenRow(uint32_t rowInTile) const {
    const uint32_t token = firstToken + rowInTile < args.numTokens ? firstToken + rowInTile : args.numTokens - 1;
    return static_cast<const uint8_t *>(args.hidden) + rowOffset(token);
  }
  __device__ const uint8_t *weightRow(uint32_t columnInTile, uint32_t plane) const {
    const uint32_t wanted = firstColumn + (columnInTile < C.tileExperts ? columnInTile : C.tileExperts - 1);
    const uint32_t column = wanted < numColumns ? wanted : numColumns - 1;
    return column < args.numExperts
               ? static_cast<const uint8_t *>(args.weight) + rowOffset(uint64_t{plane} * args.numExperts + column)
               : static_cast<const uint8_t *>(args.extraRow) + rowOffset(plane);
  }
  __device__ uint64_t rowOffset(uint64_t row) const { return row * args.hiddenSize * 2; }

  __device__ void store(uint32_t rowInTile, uint32_t columnInTile, float sum) const {
    const uint32_t token = firstToken + rowInTile, column = firstColumn + columnInTile;
    if (token >= args.numTokens || columnInTile >= C.tileExperts || column >= numColumns)
      return;
    if (args.bias && column < args.numExperts)
      sum += args.bias[column];
    args.logits[static_cast<uint64_t>(token) * args.logitStride + column] = sum;
  }
};

} // namespace moec::tile
