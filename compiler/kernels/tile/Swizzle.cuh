// Where the 16-byte pieces of a tile lie in shared memory.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::tile {

/// Rows are 128 bytes (64 two-byte elements of the sum): what one TMA box row and one wgmma swizzle span.
inline constexpr uint32_t rowBytes = 128;
inline constexpr uint32_t piecesPerRow = rowBytes / 16;

/// Byte offset of a row's 16-byte piece. The piece's place is XORed with the row modulo 8, so that the eight rows of an
/// ldmatrix or wgmma core matrix fall into different banks. This is the hardware's 128-byte swizzle for tiles that
/// start at a multiple of 1024 bytes.
inline __device__ uint32_t swizzled(uint32_t row, uint32_t piece) {
  return row * rowBytes + ((piece ^ (row & 7)) * 16);
}

} // namespace moec::tile
