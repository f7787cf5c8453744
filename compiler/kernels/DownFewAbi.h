// What host code and downFew (downFew.cuh) agree on. As KernelAbi.h.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec {

/// Steps of so many tokens at most gain by it (with three, on an H200, they gain nothing or lose), in layers of so many
/// experts a token at least: a warp multiplies for one pair at a time, so with fewer most would have nothing to do.
inline constexpr uint32_t kDownFewTokens = 2, kDownFewLeastTopK = 4;

/// Compile-time choices of down that combines, for steps of few tokens.
struct DownFewConfig {
  Element element;
  uint32_t topK;       ///< kFewPairs / kDownFewTokens at most
  bool biased = false; ///< as GemmConfig's
};

/// A block has so many columns of one token's output; a load brings them, by so many elements of the sum, of one pair.
inline constexpr uint32_t kDownFewColumns = 16, kDownFewChunk = 256;
inline constexpr uint32_t kDownFewSlotBytes = kDownFewColumns * kDownFewChunk * 2;
/// Loads under way where blocks share a multiprocessor, two of them or one and a block of gate-up (97 KB), and at most.
inline constexpr uint32_t kDownFewSlots = 12, kDownFewMostSlots = 26;
/// Each load has a barrier of its own that says "full": loads into one slot are read by warps that do not follow each
/// other, which could not tell a round from the one before the last.
inline constexpr uint32_t kDownFewMostLoads = 256;
/// A block's warps that multiply, and its threads with the warp that loads.
inline constexpr uint32_t kDownFewWarps = 8, kDownFewThreads = (kDownFewWarps + 1) * 32;

/// Dynamic shared memory of a launch whose blocks have so many slots. Slots start at multiples of 1024 bytes, which it
/// does not promise.
constexpr uint32_t downFewSharedBytes(uint32_t slots) { return slots * kDownFewSlotBytes + 1024; }
/// The most that a launch may ask for.
inline constexpr uint32_t kDownFewMostSharedBytes = downFewSharedBytes(kDownFewMostSlots);

/// Blocks of a launch for a layer with `n` hidden elements.
constexpr uint32_t downFewBlocks(uint32_t tokens, uint32_t n) { return tokens * (n / kDownFewColumns); }
/// Loads of a block whose token has an expert for each of its pairs.
constexpr uint32_t downFewLoads(uint32_t topK, uint32_t k) { return ceilDivide(k, kDownFewChunk) * topK; }

/// Whether it takes layers of such sizes: experts a token, intermediate size, hidden size.
constexpr bool fitsDownFew(uint32_t topK, uint32_t k, uint32_t n) {
  return kDownFewTokens * topK <= kFewPairs && topK >= kDownFewLeastTopK && k % 64 == 0 && n % kDownFewColumns == 0 &&
         downFewLoads(topK, k) <= kDownFewMostLoads;
}
/// Whether it runs in place of down and combine in steps of so many tokens, which the products must find the pairs of.
constexpr bool downIsFew(uint32_t tokens, uint32_t topK, uint32_t k, uint32_t n) {
  return fitsDownFew(topK, k, n) && 0 < tokens && tokens <= kDownFewTokens;
}

/// Slots of a block's ring in such a step. Best is what has all of a token's weights under way at once (Qwen3: 24
/// slots), for which a block must have its multiprocessor by itself.
constexpr uint32_t downFewSlots(uint32_t tokens, uint32_t topK, uint32_t k, uint32_t n, uint32_t multiprocessors) {
  const uint32_t most = downFewBlocks(tokens, n) <= multiprocessors ? kDownFewMostSlots : kDownFewSlots;
  const uint32_t loads = downFewLoads(topK, k);
  return loads < most ? loads : most;
}

/// Its arguments besides the map of the weights.
struct DownFewArgs {
  const void *activated;    ///< [slots of the pairs, k]
  void *output;             ///< [T, n]
  const float *pairWeights; ///< [T, topK], or null: all count fully
  const float *bias;        ///< biased: [E, n]
  uint32_t k;               ///< a multiple of 64
  uint32_t n;               ///< a multiple of kDownFewColumns
  uint32_t slots;           ///< of the ring (downFewSlots())
  FewPairs few;             ///< without a joined expert
  CountsRing ring;          ///< as CombineArgs'
};

} // namespace moec
