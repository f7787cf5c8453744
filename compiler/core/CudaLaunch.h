// How a GPU's kernels are launched: what code generation builds for a config and the runtime launches, in one place.
#pragma once

#include "compiler/core/Config.h"
#include "compiler/kernels/KernelAbi.h"

#include <array>

namespace moec {

/// Kernels move 16 bytes at a time, so sizes are rounded up to 8 elements on the device. What is added is zero: in weights
/// it multiplies nothing in, in hidden states it is never read back.
constexpr uint32_t paddedForCuda(uint32_t size) { return (size + 7) / 8 * 8; }

/// The kernel's config of a tile.
constexpr GemmConfig gemmConfigOf(const CudaTile &tile, DType element, GemmRole role, bool dense) {
  return {.element = element == DType::F16 ? Element::F16 : Element::BF16,
          .role = role,
          .tileTokens = tile.tokens,
          .tileWeights = tile.weights,
          .tileK = 64,
          .stages = tile.stages,
          .warpsTokens = tile.warpsTokens,
          .warpsWeights = tile.warpsWeights,
          .swapAB = tile.swapAB,
          .blocksPerSm = tile.blocksPerSm,
          .dense = dense};
}

constexpr uint32_t gemmThreads(GemmFamily family, const GemmConfig &config) {
  return family == GemmFamily::Portable ? portableThreads(config) : hopperThreads(config);
}
constexpr uint32_t gemmSharedBytes(GemmFamily family, const GemmConfig &config) {
  return family == GemmFamily::Portable ? portableSharedBytes(config) : hopperSharedBytes(config);
}

/// Tiles of the router's product, each good up to `maxTokens`: small tiles reach more multiprocessors, large ones read
/// less. With 256 experts each class begins where the one before would need more than about two blocks a multiprocessor.
struct RouterTileClass {
  uint32_t maxTokens, tileTokens, tileExperts;
};
inline constexpr std::array<RouterTileClass, 4> kRouterTiles = {
    {{4, 16, 2}, {64, 16, 8}, {512, 32, 32}, {UINT32_MAX, 64, 64}}};

constexpr RouterGemmConfig routerConfigOf(const RouterTileClass &tile, Element element) {
  return {.element = element, .tileTokens = tile.tileTokens, .tileExperts = tile.tileExperts};
}
/// The class for so many tokens.
constexpr uint32_t routerTileFor(uint32_t tokens) {
  uint32_t index = 0;
  while (tokens > kRouterTiles[index].maxTokens)
    ++index;
  return index;
}

/// Threads of a block that routes or combines.
inline constexpr uint32_t kRouteThreads = 128, kCombineThreads = 256;

/// 16 warps: their counters for 384 experts take 24 KB of the 48 KB that static shared memory may have.
constexpr DispatchConfig dispatchConfigOf(uint32_t experts) {
  return {.experts = experts, .threads = 512, .pairsPerBlock = 2048};
}

} // namespace moec
