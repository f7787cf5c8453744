// What host code and downFew (downFew.cuh, of e4m3 weights downFewFp8.cuh) agree on. As KernelAbi.h.
#pragma once

#include "compiler/kernels/Fp8Abi.h"

namespace moec {

/// Steps of so many tokens at most gain by it (with three, on an H200, they gain nothing or lose), in layers of so many
/// experts a token at least: a warp multiplies for one pair at a time, so with fewer most would have nothing to do.
inline constexpr uint32_t kDownFewTokens = 2, kDownFewLeastTopK = 4, kDownFewMostTopK = kFewPairs / kDownFewTokens;

/// Compile-time choices of down that combines, for steps of few tokens.
struct DownFewConfig {
  Element element;
  uint32_t topK;       ///< kDownFewMostTopK at most
  bool biased = false; ///< as GemmConfig's
  uint32_t groups = 1; ///< of kDownFewColumns columns that a block has; downFewFp8: downFewFp8Groups()
};

/// A block has so many columns of one token's output, or a few times as many (DownFewConfig::groups); a load brings
/// them, by so many elements of the sum, of one pair.
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
  return topK <= kDownFewMostTopK && topK >= kDownFewLeastTopK && k % 64 == 0 && n % kDownFewColumns == 0 &&
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

// Of e4m3 weights (downFewFp8).
/// Steps of so many tokens and blocks at most gain by it, or lose nothing: a token's blocks read an expert's weights
/// anew, so what is large is quicker by down from the third or second token on.
inline constexpr uint32_t kDownFewFp8Tokens = 4, kDownFewFp8MostBlocks = 512;
/// One product of 64 weight rows is of kDownFewColumns each of so many pairs, or of several such groups of columns of
/// fewer pairs: as many as leave so many blocks to each token, since fewer would not keep memory busy.
inline constexpr uint32_t kDownFewFp8Pairs = 4, kDownFewFp8LeastBlocks = 96;
/// Bytes of a load, and of a slot, which has those of a product.
inline constexpr uint32_t kDownFewFp8LoadBytes = kDownFewColumns * kDownFewChunk;
inline constexpr uint32_t kDownFewFp8SlotBytes = kDownFewFp8Pairs * kDownFewFp8LoadBytes;
/// Slots are filled at most so often, each time with a barrier of its own (kDownFewMostLoads); what the quantised rows
/// of a token take at most.
inline constexpr uint32_t kDownFewFp8MostFills = 64, kDownFewFp8MostRowBytes = 32 * 1024;
/// Dynamic shared memory of a block that shares its multiprocessor, and of one that does not.
inline constexpr uint32_t kDownFewFp8SharedBytes = 98 * 1024, kDownFewFp8MostSharedBytes = 220 * 1024;

/// Groups of columns that a block has.
constexpr uint32_t downFewFp8Groups(uint32_t topK, uint32_t n) {
  uint32_t groups = 1;
  while (topK * groups * 2 <= kDownFewFp8Pairs && n % (groups * 2 * kDownFewColumns) == 0 &&
         n / (groups * 2 * kDownFewColumns) >= kDownFewFp8LeastBlocks)
    groups *= 2;
  return groups;
}
/// As downFewBlocks().
constexpr uint32_t downFewFp8Blocks(uint32_t tokens, uint32_t topK, uint32_t n) {
  return downFewBlocks(tokens, n) / downFewFp8Groups(topK, n);
}

/// A token's quantised rows as tiles of eight, in whole chunks.
constexpr uint32_t downFewFp8RowBytes(uint32_t topK, uint32_t k) {
  return ceilDivide(topK, 8) * 8 * ceilDivide(k, kDownFewChunk) * kDownFewChunk;
}
constexpr uint32_t downFewFp8Fills(uint32_t topK, uint32_t k) {
  return ceilDivide(k, kDownFewChunk) * ceilDivide(topK, kDownFewFp8Pairs);
}
constexpr uint32_t downFewFp8SharedBytes(uint32_t topK, uint32_t k, uint32_t slots) {
  return downFewFp8RowBytes(topK, k) + slots * kDownFewFp8SlotBytes + 1024;
}

/// As fitsDownFew().
constexpr bool fitsDownFewFp8(uint32_t topK, uint32_t k, uint32_t n) {
  return 0 < topK && topK <= kDownFewMostTopK && k % kFp8Block == 0 && n % kDownFewColumns == 0 &&
         downFewFp8Blocks(1, topK, n) <= kDownFewFp8MostBlocks && downFewFp8Fills(topK, k) <= kDownFewFp8MostFills &&
         downFewFp8RowBytes(topK, k) <= kDownFewFp8MostRowBytes;
}
/// As downIsFew().
constexpr bool downIsFewFp8(uint32_t tokens, uint32_t topK, uint32_t k, uint32_t n) {
  return fitsDownFewFp8(topK, k, n) && 0 < tokens && tokens <= kDownFewFp8Tokens && tokens * topK <= kFewPairs &&
         downFewFp8Blocks(tokens, topK, n) <= kDownFewFp8MostBlocks;
}

/// As downFewSlots().
constexpr uint32_t downFewFp8Slots(uint32_t tokens, uint32_t topK, uint32_t k, uint32_t n, uint32_t multiprocessors) {
  const uint32_t room =
      downFewFp8Blocks(tokens, topK, n) <= multiprocessors ? kDownFewFp8MostSharedBytes : kDownFewFp8SharedBytes;
  const uint32_t most = (room - downFewFp8SharedBytes(topK, k, 0)) / kDownFewFp8SlotBytes;
  const uint32_t fills = downFewFp8Fills(topK, k);
  return fills < most ? fills : most;
}

struct DownFewFp8Args {
  DownFewArgs down;          ///< `k` is a multiple of kFp8Block; `bias` is not read; `activated` is e4m3 where rows
                             ///< have scales
  const float *rowScales;    ///< [k / 128, rowScaleStride] of each slot, or null: rows are quantised here
  const float *weightScales; ///< [E, ceil(n / 128), k / 128]
  uint32_t rowScaleStride;
};

} // namespace moec
