// How a GPU's kernels are launched: what code generation builds and the runtime relies on, in one place.
#pragma once

#include "compiler/core/CudaTiles.h"
#include "compiler/core/TargetFacts.h"
#include "compiler/kernels/GateUpFewAbi.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace moec {

/// Kernels move 16 bytes at a time, so sizes are rounded up to 8 elements on the device. What is added is zero: in
/// weights it multiplies nothing in, in hidden states it is never read back.
constexpr uint32_t paddedForCuda(uint32_t size) { return (size + 7) / 8 * 8; }

/// The kernel's config of a tile. Fitted tiles say in `warpsWeights` how many kCudaTileK of the sum a stage has, those
/// of e4m3 how many kFp8Block.
constexpr GemmConfig gemmConfigOf(const CudaTile &tile, DType element, GemmRole role, bool dense) {
  const bool fp8 = tile.family == GemmFamily::Fp8, deep = isFitted(tile);
  return {.element = element == DType::F16 ? Element::F16 : Element::BF16,
          .role = role,
          .tileTokens = tile.tokens,
          .tileWeights = tile.weights,
          .tileK = (fp8 ? kFp8Block : kCudaTileK) * (deep ? tile.warpsWeights : 1u),
          .stages = tile.stages,
          .warpsTokens = tile.warpsTokens,
          .warpsWeights = deep ? 1u : tile.warpsWeights,
          .swapAB = tile.swapAB,
          .blocksPerSm = tile.blocksPerSm,
          .dense = dense,
          .clusterBlocks = dense ? 1 : clusterBlocksOf(tile)};
}

/// Whether products in this tile have another form besides, which quantises the rows of few tokens
/// (GemmConfig::quantises). Where one block has a multiprocessor, too few warps would do it.
constexpr bool hasQuantisingForm(const CudaTile &tile) {
  return tile.family == GemmFamily::Fp8 && tile.swapAB && tile.tokens == 16 && tile.blocksPerSm > 1 &&
         tile.stages >= kQuantisingStages;
}
/// Whether a layer's products have it: both, or nobody would use it.
constexpr bool bothHaveQuantisingForms(const CudaTile &gateUp, const CudaTile &down) {
  return hasQuantisingForm(gateUp) && hasQuantisingForm(down);
}
/// Whether a layer's package has this product of both in it: a step takes it (quantisesFew(), CudaTiles.h) but where
/// gateUpFewFp8 or downFewFp8 takes the product's place, which may be in all such steps. Sizes as hasDownFew()'s.
constexpr bool hasQuantisingForm(GemmRole role, uint64_t topK, bool hasShared, uint32_t intermediate, uint32_t hidden,
                                 const CudaTile &gateUp, const CudaTile &down) {
  if (!bothHaveQuantisingForms(gateUp, down))
    return false;
  if (role == GemmRole::GateUp)
    return !fitsGateUpFew(hidden, intermediate);
  if (!hasDownFew(topK, hasShared, intermediate, hidden, gateUp.family, down.family))
    return true;
  const auto experts = static_cast<uint32_t>(topK);
  // Who takes the most tokens takes fewer, too.
  return !downIsFewFp8(std::min(kFewTokens, kFewPairs / experts), experts, intermediate, hidden);
}
inline bool hasQuantisingForm(GemmRole role, const LayerShape &shape, const CudaTile &gateUp, const CudaTile &down) {
  return hasQuantisingForm(role, shape.topK, shape.sharedIntermediate != 0, paddedForCuda(shape.intermediate),
                           paddedForCuda(shape.hidden), gateUp, down);
}
/// That form.
constexpr GemmConfig quantising(GemmConfig config) {
  config.quantises = true;
  return config;
}

/// The form of down that writes outputs itself (downCombines, CudaTiles.h).
constexpr GemmConfig combining(GemmConfig config) {
  config.combines = true;
  return config;
}

/// What kernels take at most: experts a token and groups of experts, since a lane of route holds each; experts, by the
/// shared memory of dispatch (below).
inline constexpr uint32_t kMostTopK = 32, kMostExperts = 512, kMostGroups = 32;
static_assert(kMostExperts <= kMostFewExperts);

/// 16 warps: their counters and what else dispatch keeps of an expert are 84 bytes, 32 KB for 384 experts of the 48 KB
/// that static shared memory may have.
constexpr DispatchConfig dispatchConfigOf(uint32_t experts, bool joined = false) {
  return {.experts = experts, .threads = 512, .pairsPerBlock = 2048, .joined = joined};
}

/// Whether blocks form clusters there, as dispatchCluster's do.
inline bool hasClusters(std::string_view arch) { return computeMajor(arch) >= 9; }

/// The kernels of dispatch that a package for an architecture has, in this order ("dispatch" + step).
inline std::vector<const char *> dispatchSteps(std::string_view arch) {
  std::vector<const char *> steps{"OneBlock", "Count", "Scan", "Place", "Grid"};
  if (hasClusters(arch))
    steps.push_back("Cluster");
  return steps;
}

/// How pairs get their slots (dispatch.cuh, dispatchCluster.cuh, dispatchGrid.cuh); the slots are the same.
enum class DispatchForm : uint8_t {
  OneBlock,
  Cluster,       // one launch, a cluster of blocks
  Grid,          // one launch of blocks that wait for each other
  ThreeLaunches, // count, scan, place
};

/// The form that a step takes. `mostGridBlocks`: so many may wait for each other; 0 where none shall.
constexpr DispatchForm dispatchFormOf(const DispatchConfig &config, uint32_t pairs, bool hasClusters,
                                      uint32_t multiprocessors, uint32_t mostGridBlocks) {
  return hasClusters && pairs <= dispatchClusterPairs(config)           ? DispatchForm::Cluster
         : pairs <= kOneBlockPairs                                      ? DispatchForm::OneBlock
         : dispatchGridBlocks(pairs, multiprocessors) <= mostGridBlocks ? DispatchForm::Grid
                                                                        : DispatchForm::ThreeLaunches;
}

constexpr CombineConfig combineConfigOf(Element element, uint32_t topK) {
  return {.element = element, .topK = topK, .threads = 256};
}

constexpr QuantiseConfig quantiseConfigOf(DType element, bool joined = false) {
  return {.element = element == DType::F16 ? Element::F16 : Element::BF16, .threads = 256, .joined = joined};
}

/// Floats between the scales of two blocks of 128 columns of quantised rows, of so many slots at most.
constexpr uint32_t scaleStrideOf(uint64_t slots) { return static_cast<uint32_t>((slots + 3) / 4 * 4); }

/// Threads and dynamic shared memory of a product's block.
constexpr uint32_t gemmThreads(GemmFamily family, const GemmConfig &config) {
  return family == GemmFamily::Portable ? portableThreads(config) : hopperThreads(config);
}
constexpr uint32_t gemmSharedBytes(GemmFamily family, const GemmConfig &config) {
  return family == GemmFamily::Portable ? portableSharedBytes(config)
         : family == GemmFamily::Fp8    ? fp8SharedBytes(config)
                                        : hopperSharedBytes(config);
}

/// Blocks of a product's launch: as many as run at once, in whole clusters.
constexpr uint32_t gemmBlocks(const GemmConfig &config, uint32_t multiprocessors) {
  return multiprocessors * config.blocksPerSm / config.clusterBlocks * config.clusterBlocks;
}

/// Dynamic shared memory of which a multiprocessor of sm_90 (228 KB, of which each block takes 1 KB besides) has room
/// for one block of a launch.
inline constexpr uint32_t kAloneSharedBytes = 116 * 1024;

/// Whether a product whose blocks fit two by two on a multiprocessor is launched with kAloneSharedBytes, so that each
/// has one to itself: where a step of few pairs has no more tiles than there are multiprocessors. Blocks go where there
/// is room first, so without this those multiprocessors that are done with the launch before get two each and others, a
/// little later, none (one token of the DSv3 slice: 64 tiles on 44 to 64 multiprocessors, by luck;
/// docs/performance-log.md).
constexpr bool runsAlone(const GemmConfig &config, const FewPairs &few, uint32_t columns, uint32_t multiprocessors) {
  const uint32_t tokenTiles = few.numTokens * few.topK + few.joined * ceilDivide(few.numTokens, config.tileTokens);
  return few.ids && config.blocksPerSm > 1 &&
         tokenTiles * ceilDivide(columns, outputColumns(config)) <= multiprocessors;
}

/// The most dynamic shared memory that steps launch a product with.
constexpr uint32_t mostSharedBytes(GemmFamily family, const GemmConfig &config) {
  return findsFewPairs(family) && config.blocksPerSm > 1 ? kAloneSharedBytes : gemmSharedBytes(family, config);
}

/// The most dynamic shared memory that steps launch the other form of down with (hasDownFew, CudaTiles.h).
constexpr uint32_t downFewMostSharedBytes(GemmFamily down) {
  return down == GemmFamily::Fp8 ? kDownFewFp8MostSharedBytes : kDownFewMostSharedBytes;
}

/// How a step launches it.
struct DownFewLaunch {
  uint32_t blocks, slots, sharedBytes; ///< of the grid; DownFewArgs'; dynamic
};

/// `k`, `n`: down's.
constexpr DownFewLaunch downFewLaunch(GemmFamily down, uint32_t tokens, uint32_t topK, uint32_t k, uint32_t n,
                                      uint32_t multiprocessors) {
  if (down == GemmFamily::Fp8) {
    const uint32_t slots = downFewFp8Slots(tokens, topK, k, n, multiprocessors);
    return {downFewFp8Blocks(tokens, topK, n), slots, downFewFp8SharedBytes(topK, k, slots)};
  }
  const uint32_t slots = downFewSlots(tokens, topK, k, n, multiprocessors);
  return {downFewBlocks(tokens, n), slots, downFewSharedBytes(slots)};
}

/// How a step launches the other form of gate-up (gateUpIsFew, CudaTiles.h). `downIsFew`: whether down has its other
/// form, too.
constexpr GateUpFewLaunch gateUpFewLaunch(bool downIsFew, uint32_t tokens, uint32_t topK, uint32_t intermediate,
                                          uint32_t hidden, uint32_t multiprocessors) {
  if (!downIsFew)
    return gateUpFewRings(hidden, 0);
  const DownFewLaunch down = downFewLaunch(GemmFamily::Fp8, tokens, topK, intermediate, hidden, multiprocessors);
  return gateUpFewRings(hidden, down.blocks <= multiprocessors ? down.sharedBytes : 0);
}

inline constexpr uint32_t kRouteThreads = 128;

/// DispatchArgs::mixRows of a layer whose gate-up has such tiles. Who strides over tiles, and narrow ones, of which
/// nearly all experts have several, mix later.
constexpr uint32_t mixRowsOf(GemmFamily family, uint32_t tileTokens) {
  if (family == GemmFamily::Fp8)
    return isWide(tileTokens) ? kMixRowsWideE4M3 : kMixRowsE4M3;
  return isWide(tileTokens) && family == GemmFamily::Fitted ? kMixRowsWide : kMixRows;
}

/// The fewest token rows of a wide tile, with which numProgressCounts() is greatest.
inline constexpr uint32_t kLeastWideTile = 32;
static_assert(isWide(kLeastWideTile));

/// Whether blocks of down, launched just behind gate-up in such tiles, begin when their tile's rows are written
/// (GateUpProgress), not when gate-up has ended. Where its tiles last longer than gate-up's, as Mixtral's, those that
/// share weights would begin far apart and stay so (docs/performance-log.md).
constexpr bool overlapsProducts(GemmFamily family, const GemmConfig &gateUp, uint32_t hidden, uint32_t intermediate) {
  return family == GemmFamily::Fitted && isWide(gateUp.tileTokens) && intermediate <= hidden;
}

/// What gate-up, with `intermediate` columns, and down are told then.
constexpr GateUpProgress gateUpProgress(uint32_t *counts, const GemmConfig &gateUp, uint32_t intermediate,
                                        uint32_t multiprocessors) {
  const uint32_t storingWarps = multiplyingThreads(gateUp) / 32, columns = outputColumns(gateUp) * gateUp.clusterBlocks;
  return {.counts = counts,
          .all = gemmBlocks(gateUp, multiprocessors) * storingWarps,
          .ofTile = ceilDivide(intermediate, columns) * gateUp.clusterBlocks * storingWarps};
}

} // namespace moec
