#include "compiler/core/CudaCost.h"

#include "compiler/core/CudaTiles.h"

#include <algorithm>

namespace moec {

namespace {

constexpr double elementBytes = 2;
constexpr uint32_t oneBlockPairs = 4096; // up to here dispatch is one block's work
constexpr double idleRowsSaved = 0.73;   // of the time of a warpgroup without rows: the other one alone is slower

uint64_t ceilDivide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
double of(uint64_t count) { return static_cast<double>(count); }

/// Times that an expert's token rows come from device memory: once, where half of the second-level cache holds them (the
/// weights pass through the rest), else once for each set of tiles that run at a time.
double tokenPasses(uint32_t rows, const CudaTile &tile, const CudaGemm &gemm, const GpuFacts &gpu) {
  if (2 * elementBytes * rows * gemm.k <= of(gpu.l2Bytes))
    return 1;
  const uint64_t tiles = ceilDivide(rows, tile.tokens) * ceilDivide(gemm.n, tile.weights);
  return std::max(1.0, of(tiles) / gpu.multiprocessors);
}

} // namespace

CudaGemmWork cudaGemmWork(const CudaTile &tile, const CudaGemm &gemm, std::span<const uint32_t> rows, const GpuFacts &gpu) {
  const uint32_t granule = rowGranule(tile);
  uint64_t tokenTiles = 0, granules = 0, hit = 0, allRows = 0;
  double tokenRows = 0;
  for (uint32_t count : rows) {
    if (count == 0)
      continue;
    ++hit;
    allRows += count;
    tokenTiles += ceilDivide(count, tile.tokens);
    granules += ceilDivide(count, granule);
    tokenRows += count * tokenPasses(count, tile, gemm, gpu);
  }
  if (tokenTiles == 0)
    return {};
  const double idle = 1 - of(granules * granule) / of(tokenTiles * tile.tokens);
  CudaGemmWork work;
  // Blocks of one multiprocessor share what it can do, so waves count multiprocessors.
  work.waves = of(ceilDivide(tokenTiles * ceilDivide(gemm.n, tile.weights), std::max(1u, gpu.multiprocessors)));
  work.steps = of(ceilDivide(gemm.k, kCudaTileK));
  work.rowShare = 1 - idleRowsSaved * std::max(0.0, idle);
  work.itemBytes = work.steps * kCudaTileK * elementBytes * (tile.weights + of(allRows) / of(tokenTiles));
  work.memoryBytes = elementBytes * gemm.k * (of(hit) * gemm.n + tokenRows);
  return work;
}

CudaGemmCost cudaGemmCost(const CudaGemmWork &work, const CudaTileCost &tile, const GpuCalibration &gpu) {
  CudaGemmCost cost;
  cost.computeNs = work.waves * (work.steps * tile.stepNs * work.rowShare + tile.fixedNs);
  cost.loadNs = work.waves * work.itemBytes / gpu.perSmBytesPerNs;
  cost.memoryNs = work.memoryBytes / gpu.memoryBytesPerNs;
  const double longer = std::max(cost.tilesNs(), cost.memoryNs), shorter = std::min(cost.tilesNs(), cost.memoryNs);
  // Nothing is lost where one of them is far shorter: it always finds room beside the other.
  cost.ns = gpu.launchNs + longer + (longer > 0 ? gpu.overlapLoss * shorter * (shorter / longer) : 0);
  return cost;
}

CudaGlueCost cudaGlueCost(const LayerShape &shape, const Histogram &histogram, const GpuCalibration &gpu) {
  const double rowBytes = elementBytes * shape.hidden, pairs = of(histogram.total());
  CudaGlueCost cost;
  // Two launches: products, which are few beside the rows that they read, and top-k.
  cost.routerNs = 2 * gpu.launchNs + (of(shape.experts) + histogram.tokens) * rowBytes / gpu.copyBytesPerNs;
  cost.dispatchNs = pairs <= oneBlockPairs ? gpu.launchNs + gpu.dispatchNs + gpu.dispatchNsPerPair * pairs : gpu.dispatchGridNs;
  cost.combineNs = gpu.launchNs + (pairs + histogram.tokens) * rowBytes / gpu.copyBytesPerNs;
  return cost;
}

} // namespace moec
