// Laying rows out: each token is read once and written to the slots of its pairs, so that gate-up can copy an expert's rows as
// one piece. Slots follow dispatch, whatever its layout: compact, static or spilled.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Fragment.cuh"

namespace moec {

/// See LayRowsArgs. Pairs without a slot (padding) are left out, and rows that no pair has keep what they hold.
///
/// Launch: any grid of C.threads threads (layRowsBlocks()); each thread copies eight columns of a token at a time.
template <LayRowsConfig C>
__global__ void __launch_bounds__(C.threads) layRows(const __grid_constant__ LayRowsArgs args) {
  ptx::waitForPrevious();
  ptx::startNext(); // not before the wait: the product behind this reads dispatch's tables before its own
  const uint32_t pieces = args.hidden / 8;
  const uint64_t total = static_cast<uint64_t>(args.numTokens) * pieces;
  for (uint64_t item = static_cast<uint64_t>(blockIdx.x) * C.threads + threadIdx.x; item < total;
       item += static_cast<uint64_t>(gridDim.x) * C.threads) {
    const uint32_t token = static_cast<uint32_t>(item / pieces), column = static_cast<uint32_t>(item % pieces) * 8;
    const int32_t *slots = args.slotOfPair + static_cast<uint64_t>(token) * C.topK;
    const uint4 piece = *reinterpret_cast<const uint4 *>(tile::elementAt(args.tokens, token, args.hidden, column));
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k)
      if (const int32_t slot = slots[k]; slot >= 0)
        *reinterpret_cast<uint4 *>(tile::elementAt(args.rows, static_cast<uint64_t>(slot), args.hidden, column)) = piece;
  }
}

} // namespace moec
