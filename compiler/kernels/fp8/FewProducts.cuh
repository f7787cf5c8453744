// Products of e4m3 for steps of few tokens: 64 weight rows and eight token rows, whatever is in use.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/ptx/Descriptor.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"

namespace moec {

/// Bytes of eight rows of a block of the scales, as tiles in shared memory have them: one behind the other for each
/// block of a chunk, and so for each eight weight rows.
inline constexpr uint32_t kFewTileBytes = 8 * kFp8Block;

/// Starts those of a chunk, a sum for each block of the scales. Blocks take turns: what a block adds up waits for
/// itself. The caller fences before and commits behind. Tiles are swizzled by 128 bytes.
template <uint32_t Blocks>
__device__ void startFewProducts(uint32_t weightTiles, uint32_t rowTiles, float (&products)[Blocks][4]) {
  const uint64_t weights = ptx::swizzledTile(weightTiles, Blocks * kFewTileBytes), tokens = ptx::swizzledTile(rowTiles);
#pragma unroll
  for (uint32_t k = 0; k < kFp8Block; k += 32)
#pragma unroll
    for (uint32_t block = 0; block < Blocks; ++block)
      ptx::WgmmaE4M3<8>::run(products[block],
                             ptx::advanceBytes(ptx::tileBehind(weights, block * kFewTileBytes / 16), k),
                             ptx::advanceBytes(ptx::tileBehind(tokens, block * kFewTileBytes / 16), k), k != 0);
}

} // namespace moec
