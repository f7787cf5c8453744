// The tile classes of the grouped GEMMs for GPUs: the one list of them, and what a target can run.
//
// A new class is a line in CudaTiles.cpp: the planner then weighs it, compiler/jit ships it, and its cost is assumed by
// its family's rule (GpuCalibration.cpp) until a device is calibrated.
#pragma once

#include "compiler/core/Config.h"
#include "compiler/kernels/DownFewAbi.h"

#include <span>
#include <vector>

namespace moec {

/// Elements of the sum that a tile multiplies at a time, all classes alike (GemmConfig::tileK).
inline constexpr uint32_t kCudaTileK = 64;

/// All classes of two-byte elements, as they run where shared memory allows; in the order in which equal ones are
/// preferred.
std::span<const CudaTile> cudaTileClasses();

/// Those of e4m3 elements (GemmFamily::Fp8), likewise.
std::span<const CudaTile> e4m3TileClasses();

/// Whether e4m3 kernels can compute a layer's routed experts: the checkpoint has their weights so, outputs are bf16, H
/// and I are multiples of 16, and there are neither biases nor router weights on inputs.
bool hasE4M3Kernels(const LayerShape &shape);

/// Whether a target multiplies a layer's routed experts, and a shared one that joins them, in e4m3. Else their weights
/// are read as the numbers that they stand for.
bool multipliesE4M3(const LayerShape &shape, const TargetFacts &facts);

/// Whether the instructions of the tile's family exist on an architecture ("sm_90a").
bool runsOn(const CudaTile &tile, const std::string &arch);

/// Whether the tile exists for dense products too (shared experts).
bool hasDenseForm(const CudaTile &tile);

/// Whether a product finds the slots and tiles of few pairs (kFewPairs; in narrow tiles kBlockRows) by itself. Where
/// both do, such a step needs no dispatch.
constexpr bool findsFewPairs(GemmFamily family) { return family == GemmFamily::Fitted || family == GemmFamily::Fp8; }

/// Whether down of a family has a form that writes outputs itself where tokens have one expert (GemmConfig::combines).
constexpr bool hasCombiningForm(GemmFamily down) { return down == GemmFamily::Fitted || down == GemmFamily::Fp8; }

/// Whether a layer's down has that form, so that no combine runs: tokens have one expert, and no shared one adds to it.
constexpr bool downCombines(uint64_t topK, bool hasShared, GemmFamily down) {
  return topK == 1 && !hasShared && hasCombiningForm(down);
}
constexpr bool downCombines(const LayerShape &shape, GemmFamily down) {
  return downCombines(shape.topK, shape.sharedIntermediate != 0, down);
}

/// Whether a layer has another form of down besides, for steps of so few tokens that a block can have a token's experts
/// all together and no combine runs (compiler/kernels/downFew.cuh, of e4m3 downFewFp8.cuh). `intermediate`, `hidden`:
/// as on the device (paddedForCuda(), which leaves e4m3's as they are).
constexpr bool hasDownFew(uint64_t topK, bool hasShared, uint32_t intermediate, uint32_t hidden, GemmFamily gateUp,
                          GemmFamily down) {
  if (gateUp != down || hasShared || topK > kDownFewMostTopK)
    return false;
  const auto experts = static_cast<uint32_t>(topK);
  return down == GemmFamily::Fitted ? fitsDownFew(experts, intermediate, hidden)
                                    : down == GemmFamily::Fp8 && fitsDownFewFp8(experts, intermediate, hidden);
}
bool hasDownFew(const LayerShape &shape, GemmFamily gateUp, GemmFamily down);

/// Whether a layer's step of so many tokens has it. (Such a step has no dispatch.)
bool downIsFew(const LayerShape &shape, uint64_t tokens, GemmFamily gateUp, GemmFamily down);

/// Whether a layer has another form of gate-up besides, which shares out an e4m3 step of few tokens evenly over all
/// multiprocessors (compiler/kernels/gateUpFewFp8.cuh). It gives rows as they are, so down must quantise them itself.
/// Sizes as hasDownFew()'s.
bool hasGateUpFew(uint64_t topK, bool hasShared, uint32_t intermediate, uint32_t hidden, const CudaTile &gateUp,
                  const CudaTile &down);
bool hasGateUpFew(const LayerShape &shape, const CudaTile &gateUp, const CudaTile &down);

/// Whether a layer's step of so many tokens has it. (Such a step has no dispatch, and no launch that quantises.)
bool gateUpIsFew(const LayerShape &shape, uint64_t tokens, const CudaTile &gateUp, const CudaTile &down);

/// Which products of a step have their forms of few tokens.
struct FewForms {
  bool gateUp = false, down = false;

  static FewForms of(const LayerShape &shape, uint64_t tokens, const CudaTile &gateUp, const CudaTile &down) {
    return {gateUpIsFew(shape, tokens, gateUp, down), downIsFew(shape, tokens, gateUp.family, down.family)};
  }
  bool any() const { return gateUp || down; }
};

/// Whether products that find few pairs by themselves find so many. `rows`: those of a joined expert included.
constexpr bool arePairsFound(uint64_t pairs, uint64_t rows, bool areTilesNarrow) {
  return pairs <= kFewPairs || (areTilesNarrow && rows <= kBlockRows);
}

/// Whether a layer's step of so many tokens has no dispatch.
bool hasNoDispatch(const LayerShape &shape, uint64_t tokens, const CudaTile &gateUp, const CudaTile &down);

/// Blocks of a cluster that share the tile's token rows (GemmConfig::clusterBlocks). Tiles of few tokens have few rows
/// to share.
constexpr uint32_t clusterBlocksOf(const CudaTile &tile) {
  return tile.family == GemmFamily::Fitted && isWide(tile.tokens) && tile.blocksPerSm == 1 ? 2 : 1;
}

/// Whether gate-up in this tile gives its rows quantised, so that no launch has to do it before down.
bool givesQuantised(const CudaTile &tile);

/// Whether a step has its products in the form that quantises the rows of few tokens (hasQuantisingForm, CudaLaunch.h),
/// so that no launch has to do it before them.
bool quantisesFew(uint32_t tokens, uint32_t topK, const CudaTile &gateUp, const CudaTile &down);

/// Dynamic shared memory of a block, in bytes; as GemmConfig's portableSharedBytes, hopperSharedBytes and
/// fp8SharedBytes.
uint32_t sharedBytes(const CudaTile &tile);

/// Blocks of the tile that one multiprocessor's shared memory holds at a time, `blocksPerSm` at most; 0: not even one.
uint32_t residentBlocks(const CudaTile &tile, const GpuFacts &gpu);

/// The classes of two-byte elements that a target can run, cut to its shared memory: where the blocks of a class do not
/// fit side by side, it gets fewer stages (3 at least), then one block with all its stages. Never empty from 72 KB a
/// block on.
std::vector<CudaTile> cudaTiles(const TargetFacts &facts);

/// The classes that a layer's routed experts can have on a target: of e4m3 elements where it multiplies those.
std::vector<CudaTile> expertTiles(const LayerShape &shape, const TargetFacts &facts);

/// Whether the tile is as wide as an expert's rows, with stages as deep as it says, in a kernel that begins while the
/// one before it still runs: of two-byte elements or of e4m3.
constexpr bool isFitted(const CudaTile &tile) {
  return tile.family == GemmFamily::Fitted || tile.family == GemmFamily::Fp8;
}

/// Bytes of an element of the tile's tokens and weights.
constexpr uint32_t elementBytes(const CudaTile &tile) { return tile.family == GemmFamily::Fp8 ? 1 : 2; }

/// Token rows that a tile computes together: rows up to the next multiple are padding, rows beyond cost little.
/// Plain Hopper tiles, and those of e4m3 with token rows on the 64-row side, leave out warpgroups of 64 rows without a
/// valid one; fitted ones pick a width in sixteens.
uint32_t rowGranule(const CudaTile &tile);

} // namespace moec
