// Laying rows out: each token is read once and written to the slots of its pairs, so that gate-up can copy an expert's
// rows as one piece. Slots follow dispatch, whatever its layout: compact, static or spilled.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Fragment.cuh"

namespace moec {

/// See LayRowsArgs. Pairs without a slot (padding) are left out, and rows that no pair has keep what they hold.
///
/// Launch: any grid of C.threads threads; a block copies a token at a time (layRowsBlocks() take one turn).
template <LayRowsConfig C>
__global__ void __launch_bounds__(C.threads) layRows(const __grid_constant__ LayRowsArgs args) {
  ptx::waitForPrevious();
  ptx::startNext();             // not before the wait: the product behind this reads dispatch's tables before its own
  constexpr uint32_t batch = 4; // pieces of 16 bytes that a thread has under way together
  constexpr uint32_t copies = C.topK + C.joined; // of a token
  const uint32_t pieces = args.hidden / 8;
  for (uint32_t token = blockIdx.x; token < args.numTokens; token += gridDim.x) {
    int32_t slots[copies];
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k)
      slots[k] = args.slotOfPair[static_cast<uint64_t>(token) * C.topK + k];
    if constexpr (C.joined)
      slots[C.topK] = static_cast<int32_t>(token);
    for (uint32_t first = threadIdx.x; first < pieces; first += batch * C.threads) {
      uint4 values[batch];
#pragma unroll
      for (uint32_t i = 0; i < batch; ++i)
        if (const uint32_t piece = first + i * C.threads; piece < pieces)
          values[i] = *reinterpret_cast<const uint4 *>(tile::elementAt(args.tokens, token, args.hidden, piece * 8));
#pragma unroll
      for (uint32_t k = 0; k < copies; ++k)
#pragma unroll
        for (uint32_t i = 0; i < batch; ++i)
          if (const uint32_t piece = first + i * C.threads; piece < pieces && slots[k] >= 0)
            *reinterpret_cast<uint4 *>(
                tile::elementAt(args.rows, static_cast<uint64_t>(slots[k]), args.hidden, piece * 8)) = values[i];
    }
  }
}

} // namespace moec
