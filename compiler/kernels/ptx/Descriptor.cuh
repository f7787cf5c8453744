// Matrix descriptors of wgmma operands: plain arithmetic, so the host's compiler builds it too (tests/emulation).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// Descriptor of a tile of 128-byte rows (64 two-byte elements of the sum or 128 of one byte), swizzled by 128 bytes,
/// that starts at a multiple of 1024 bytes. PTX ISA, "Matrix Descriptor Format": bits 0-13 address / 16, 16-29 leading
/// offset (unused with a swizzle when the sum is contiguous), 32-45 bytes between groups of eight rows / 16, 62-63
/// swizzle (1 = 128 B).
/// Groups of eight rows are `groupBytes` apart, a multiple of 1024.
inline __device__ uint64_t swizzledTile(uint32_t shared, uint32_t groupBytes = 1024) {
  return static_cast<uint64_t>((shared & 0x3ffff) >> 4) | (uint64_t{1} << 16) | (uint64_t{groupBytes / 16} << 32) |
         (uint64_t{1} << 62);
}

/// The tile `sixteens` times 16 bytes behind another one: a multiple of 64, within the block's shared memory, so that
/// the address field does not run over.
inline __device__ uint64_t tileBehind(uint64_t descriptor, uint32_t sixteens) { return descriptor + sixteens; }

/// The same tile, `elements` further along the sum (a multiple of 16, less than 64).
inline __device__ uint64_t advance(uint64_t descriptor, uint32_t elements) { return descriptor + elements * 2 / 16; }

/// As advance, in bytes: a multiple of 32, less than 128.
inline __device__ uint64_t advanceBytes(uint64_t descriptor, uint32_t bytes) { return descriptor + bytes / 16; }

} // namespace moec::ptx
