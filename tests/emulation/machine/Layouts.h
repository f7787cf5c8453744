// Where elements are: fragments of registers, swizzles, descriptors. Nothing else in the machine knows a layout, and
// tests/emulation/hardware checks these against dumps from a GPU.
#pragma once

#include <cstdint>

namespace moec::emulation {

struct Place {
  uint32_t row, column;
};

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type": groupID = lane / 4, threadID_in_group = lane
// % 4.

/// Element `half` (0: low) of register `i` of A [16 x 16].
constexpr Place placeInA(uint32_t lane, uint32_t i, uint32_t half) {
  return {lane / 4 + i % 2 * 8, lane % 4 * 2 + half + i / 2 * 8};
}
/// Of B [16 x 8]: row is the place in the sum, column the output's column.
constexpr Place placeInB(uint32_t lane, uint32_t i, uint32_t half) { return {lane % 4 * 2 + half + i * 8, lane / 4}; }
/// Element `i` of C and D [16 x 8].
constexpr Place placeInD(uint32_t lane, uint32_t i) { return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2}; }

/// Element `half` of a register that holds part of an 8x8 matrix. PTX ISA, "ldmatrix", and "movmatrix".
constexpr Place placeIn8x8(uint32_t lane, uint32_t half) { return {lane / 4, lane % 4 * 2 + half}; }
constexpr uint32_t laneOf8x8(Place place) { return place.row * 4 + place.column / 2; }

/// Element `i` of D [64 x N], N / 2 a thread. PTX ISA, "Register Fragments and Shared Memory Matrix Layouts" of wgmma
/// .m64nNk16, figure for D: warp w of the warpgroup holds rows 16w .. 16w+15; within them it is placeInD, for each
/// eight columns.
constexpr Place placeInWgmmaD(uint32_t lane, uint32_t i) {
  const Place place = placeInD(lane, i % 4);
  return {place.row, i / 4 * 8 + place.column};
}

/// PTX ISA, "Swizzling Modes", 128B: 16-byte pieces, numbered by bits 4-6 of the address, are XORed with bits 7-9.
constexpr uint32_t swizzle128(uint32_t address) { return address ^ ((address >> 7 & 7) << 4); }

/// PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory Layout", "Matrix Descriptor Format".
struct MatrixDescriptor {
  uint32_t start;        ///< bits 0-13, times 16: byte address
  uint32_t leadingBytes; ///< bits 16-29, times 16
  uint32_t strideBytes;  ///< bits 32-45, times 16
  uint32_t baseOffset;   ///< bits 49-51
  uint32_t swizzle;      ///< bits 62-63: 0 none, 1 128B, 2 64B, 3 32B
};
constexpr MatrixDescriptor decode(uint64_t bits) {
  return {static_cast<uint32_t>(bits & 0x3fff) << 4, static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4,
          static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4, static_cast<uint32_t>(bits >> 49 & 7),
          static_cast<uint32_t>(bits >> 62)};
}

/// Byte address of the 16-byte piece `piece` (0 or 1) of a K-major operand's row in a k16 step, 128B swizzle. PTX ISA,
/// "Strides", K-major: rows are 128 bytes apart within a group of eight, groups `strideBytes`; the swizzle applies to
/// the address.
constexpr uint32_t operandPiece(const MatrixDescriptor &d, uint32_t row, uint32_t piece) {
  return swizzle128(d.start + row / 8 * d.strideBytes + row % 8 * 128 + piece * 16);
}

} // namespace moec::emulation
