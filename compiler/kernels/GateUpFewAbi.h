// What host code and gateUpFewFp8 (gateUpFewFp8.cuh) agree on. As KernelAbi.h.
#pragma once

#include "compiler/kernels/Fp8Abi.h"

namespace moec {

/// Compile-time choices of gate-up for steps of few tokens.
struct GateUpFewConfig {
  Element element; ///< of tokens and outputs
};

/// Weight rows come in units of eight of gate and the same eight of up, so many bytes of the sum at a time.
inline constexpr uint32_t kGateUpFewColumns = 8, kGateUpFewChunk = 256;
inline constexpr uint32_t kGateUpFewLoadBytes = 2 * kGateUpFewColumns * kGateUpFewChunk;
/// Units that one product of 64 weight rows has at most; warpgroups that multiply, each from a ring of its own; threads
/// with the warp that loads.
inline constexpr uint32_t kGateUpFewUnits = 4, kGateUpFewRings = 2, kGateUpFewThreads = (kGateUpFewRings * 4 + 1) * 32;
/// Slots of a ring at most, and tokens: a product's columns.
inline constexpr uint32_t kGateUpFewMostSlots = 32, kGateUpFewMostTokens = 8;
/// A lane has the scales of two blocks of weights.
inline constexpr uint32_t kGateUpFewMostK = 64 * kFp8Block;
/// With more columns a step's units times a launch's blocks might not be below 2^32.
inline constexpr uint32_t kGateUpFewMostN = 1 << 20;
/// Steps of so many tokens at most have it: those whose products otherwise quantise their rows themselves.
inline constexpr uint32_t kGateUpFewTokens = kFewTokens;
static_assert(kGateUpFewTokens <= kGateUpFewMostTokens);

/// The quantised tokens, in whole chunks.
constexpr uint32_t gateUpFewRowBytes(uint32_t k) {
  return kGateUpFewMostTokens * ceilDivide(k, kGateUpFewChunk) * kGateUpFewChunk;
}
/// Dynamic shared memory of a launch with so many bytes for its rings: a product of fewer units reads what lies behind.
constexpr uint32_t gateUpFewSharedBytes(uint32_t k, uint32_t ringBytes) {
  const uint32_t behind = (kGateUpFewUnits - 1) * kGateUpFewLoadBytes, rows = gateUpFewRowBytes(k);
  return ringBytes + (rows > behind ? rows : behind) + 1024;
}
/// Dynamic shared memory at most, and room for what is static; bytes of the rings at most, and where a block of
/// downFewFp8 shall find room beside it.
inline constexpr uint32_t kGateUpFewMostSharedBytes = 223 * 1024, kGateUpFewOtherBytes = 3328;
inline constexpr uint32_t kGateUpFewMostRingBytes = 160 * 1024, kGateUpFewSharingRingBytes = 96 * 1024;
static_assert(kGateUpFewMostSharedBytes + kGateUpFewOtherBytes <= 227 * 1024);

/// Whether it takes layers of such sizes: hidden size, intermediate size.
constexpr bool fitsGateUpFew(uint32_t k, uint32_t n) {
  return k % kFp8Block == 0 && 0 < k && k <= kGateUpFewMostK && n % kGateUpFewColumns == 0 && n <= kGateUpFewMostN;
}

/// Whether it runs in place of quantise and gate-up in steps of so many tokens, if down quantises its rows itself.
constexpr bool gateUpIsFewFp8(uint64_t tokens, uint32_t topK, uint32_t k, uint32_t n) {
  return fitsGateUpFew(k, n) && 0 < tokens && tokens <= kGateUpFewTokens && tokens * topK <= kFewPairs;
}

/// How a step launches it.
struct GateUpFewLaunch {
  uint32_t ringBytes, startAt; ///< as GateUpFewFp8Args'
};

/// Of a layer with so many hidden elements, `k`. `besideDown`: dynamic shared memory of a block of downFewFp8 (which
/// has no more of static than kGateUpFewOtherBytes), where each has a multiprocessor; else 0. Where both fit, down's
/// blocks begin while the last quarter of the weights comes: earlier theirs would take its place. Where not, down need
/// but be at hand when gate-up's blocks end.
constexpr GateUpFewLaunch gateUpFewRings(uint32_t k, uint32_t besideDown) {
  const uint32_t chunks = ceilDivide(k, kGateUpFewChunk), others = 2 * (kGateUpFewOtherBytes + 1024);
  // A multiprocessor has 228 KB, of which each block takes 1 KB besides.
  if (besideDown && gateUpFewSharedBytes(k, kGateUpFewSharingRingBytes) + besideDown + others <= 228 * 1024)
    return {kGateUpFewSharingRingBytes, chunks * 3 / 4};
  constexpr uint32_t unit = kGateUpFewRings * 1024; // each ring begins where the swizzle does
  const uint32_t room = (kGateUpFewMostSharedBytes - gateUpFewSharedBytes(k, 0)) / unit * unit;
  return {room < kGateUpFewMostRingBytes ? room : kGateUpFewMostRingBytes, chunks / 4};
}

struct GateUpFewFp8Args {
  const void *tokens;          ///< [T, k]
  void *output;                ///< [slots of the pairs, n]
  const float *weightScales;   ///< gate's [E, ceil(n / 128), k / 128]
  const float *upWeightScales; ///< up's, laid out as `weightScales`
  int64_t expertScaleStride;   ///< floats from one expert's scales to the next
  uint32_t expertGroups;       ///< eights of rows from one expert to the next, as the map counts
  uint32_t k;                  ///< a multiple of kFp8Block
  uint32_t n;                  ///< a multiple of kGateUpFewColumns
  uint32_t ringBytes;          ///< of all rings, each a multiple of 1024
  uint32_t startAt;            ///< the chunk of the last products before whose loads the next launch may start; from
                               ///< ceil(k / kGateUpFewChunk) on: behind all loads
  FewPairs few;
};

} // namespace moec
