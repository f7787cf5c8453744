// The cost model of a layer's step on a GPU: rows and tile classes in, nanoseconds out (docs/planner-gpu.md).
#pragma once

#include "compiler/core/CudaTiles.h"
#include "compiler/core/GpuCalibration.h"
#include "compiler/core/Histogram.h"

#include <cstdint>
#include <optional>
#include <span>

namespace moec {

/// The products of a layer's step: their tiles, and which of them have their forms of few tokens.
struct CudaProducts {
  CudaTile gateUp, down;
  FewForms few;

  static CudaProducts of(const LayerShape &shape, uint32_t tokens, const CudaTile &gateUp, const CudaTile &down) {
    return {gateUp, down, FewForms::of(shape, tokens, gateUp, down)};
  }
};

/// A grouped GEMM: `n` weight rows an expert (gate-up: gate and up), sums of length `k`.
struct CudaGemm {
  uint32_t n = 0, k = 0;
  bool fromTokens = false; // each row is a token's, wherever that lies; else rows follow each other

  static CudaGemm gateUp(uint32_t intermediate, uint32_t hidden) { return {2 * intermediate, hidden, true}; }
  static CudaGemm down(uint32_t intermediate, uint32_t hidden) { return {hidden, intermediate}; }
  bool operator==(const CudaGemm &) const = default;
};

/// How long each part of a GEMM's launch would take alone, and the launch, where they overlap.
struct CudaGemmCost {
  double computeNs = 0; // waves of tiles
  double loadNs = 0;    // what the busiest multiprocessor takes in
  double memoryNs = 0;  // weights of the experts that were hit and token rows, from device memory
  double ns = 0;        // all of it, with its launch

  /// Arithmetic and loads run side by side, tile by tile.
  double tilesNs() const { return computeNs > loadNs ? computeNs : loadNs; }
  double longerNs() const { return tilesNs() > memoryNs ? tilesNs() : memoryNs; }
  double shorterNs() const { return tilesNs() > memoryNs ? memoryNs : tilesNs(); }
};

/// What of a launch does not depend on the calibration.
struct CudaGemmWork {
  double waves = 0;       // tiles, one after the other, of the busiest multiprocessor
  double fullWaves = 0;   // the same, those with idle rows counted by what they take
  double steps = 0;       // of a tile
  double stretch = 1;     // of the arithmetic, where fitted tiles fetch their token rows one by one
  double loadBytes = 0;   // into the busiest multiprocessor
  double memoryBytes = 0; // from device memory, once each but for tokens that the cache cannot hold
  double idleBytes = 0;   // as long as these reading takes more where few multiprocessors have tiles of weights
};

/// One launch over experts of `rows[e]` token rows each.
CudaGemmWork cudaGemmWork(const CudaTile &tile, const CudaGemm &gemm, std::span<const uint32_t> rows,
                          const GpuFacts &gpu);
CudaGemmCost cudaGemmCost(const CudaGemmWork &work, const CudaTileCost &tile, const GpuCalibration &gpu);

/// Of e4m3 products in their forms of few tokens, as far as a step has them: there they cost this, whatever their
/// classes are.
struct CudaFewCosts {
  std::optional<CudaGemmCost> gateUp, down;
};
CudaFewCosts cudaFewCosts(const LayerShape &shape, const CudaProducts &products, std::span<const uint32_t> rows,
                          const GpuCalibration &gpu);

/// What two products take less than by themselves, since down begins where blocks of gate-up end.
double earlyDownNs(const CudaTile &gateUp, const CudaTile &down, const GpuCalibration &gpu);

/// What a step spends besides its GEMMs; no choice of tiles changes it, but whether few pairs need a dispatch and
/// outputs a combine.
struct CudaGlueCost {
  double routerNs = 0;   // logits and top-k
  double dispatchNs = 0; // pairs sorted by expert; of few pairs what finding them costs others
  double combineNs = 0;  // weighted sums of the pairs' rows, or what the launch that does down's work, too, waits

  double ns() const { return routerNs + dispatchNs + combineNs; }
};

/// Quantising a step's token rows before gate-up, and gate-up's outputs before down, where experts are multiplied in
/// e4m3 and products (or downFewFp8, without) do not do it, or what products take longer that do both.
struct CudaQuantiseCost {
  double tokensNs = 0, activatedNs = 0, inProductsNs = 0;

  double ns() const { return tokensNs + activatedNs + inProductsNs; }
};
CudaQuantiseCost cudaQuantiseCost(const LayerShape &shape, const CudaProducts &products, const Histogram &histogram,
                                  const GpuCalibration &gpu);

/// On a GPU of so many multiprocessors.
CudaGlueCost cudaGlueCost(const LayerShape &shape, const CudaProducts &products, const Histogram &histogram,
                          const GpuCalibration &gpu, uint32_t multiprocessors);

} // namespace moec
