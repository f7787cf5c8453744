// How a GPU's kernels are launched: what code generation builds and the runtime relies on, in one place.
#pragma once

#include "compiler/core/CudaTiles.h"
#include "compiler/kernels/KernelAbi.h"

namespace moec {

/// Kernels move 16 bytes at a time, so sizes are rounded up to 8 elements on the device. What is added is zero: in weights
/// it multiplies nothing in, in hidden states it is never read back.
constexpr uint32_t paddedForCuda(uint32_t size) { return (size + 7) / 8 * 8; }

/// The kernel's config of a tile. Fitted tiles say in `warpsWeights` how many kCudaTileK of the sum a stage has.
constexpr GemmConfig gemmConfigOf(const CudaTile &tile, DType element, GemmRole role, bool dense) {
  const bool fitted = tile.family == GemmFamily::Fitted;
  return {.element = element == DType::F16 ? Element::F16 : Element::BF16,
          .role = role,
          .tileTokens = tile.tokens,
          .tileWeights = tile.weights,
          .tileK = kCudaTileK * (fitted ? tile.warpsWeights : 1u),
          .stages = tile.stages,
          .warpsTokens = tile.warpsTokens,
          .warpsWeights = fitted ? 1u : tile.warpsWeights,
          .swapAB = tile.swapAB,
          .blocksPerSm = tile.blocksPerSm,
          .dense = dense,
          .rowsLaid = tile.rowsLaid && role == GemmRole::GateUp};
}

/// 16 warps: their counters for 384 experts take 24 KB of the 48 KB that static shared memory may have.
constexpr DispatchConfig dispatchConfigOf(uint32_t experts) {
  return {.experts = experts, .threads = 512, .pairsPerBlock = 2048};
}

constexpr CombineConfig combineConfigOf(Element element, uint32_t topK) {
  return {.element = element, .topK = topK, .threads = 256};
}

constexpr LayRowsConfig layRowsConfigOf(uint32_t topK) { return {.topK = topK, .threads = 128}; }

inline constexpr uint32_t kRouteThreads = 128;

} // namespace moec
