#include "compiler/core/PlanCuda.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <tuple>

namespace moec {

namespace {

// At most 99 KB of shared memory, so that sm_86, sm_89 and sm_120 run them too.
constexpr CudaTile portableTiles[] = {
    {GemmFamily::Portable, false, 16, 128, 5, 1, 4, 2},
    {GemmFamily::Portable, false, 32, 128, 4, 1, 4, 2},
    {GemmFamily::Portable, false, 64, 128, 3, 2, 2, 2},
    {GemmFamily::Portable, false, 128, 128, 3, 2, 4, 2},
};

// At most 227 KB. Few tokens: all of it in flight for the weights.
constexpr CudaTile hopperTiles[] = {
    {GemmFamily::Hopper, true, 8, 128, 12, 1, 1, 1},   {GemmFamily::Hopper, true, 16, 128, 6, 1, 1, 2},
    {GemmFamily::Hopper, true, 32, 128, 10, 1, 1, 1},  {GemmFamily::Hopper, true, 64, 128, 8, 1, 1, 1},
    {GemmFamily::Hopper, true, 64, 256, 5, 2, 1, 1},   {GemmFamily::Hopper, false, 128, 128, 6, 2, 1, 1},
    {GemmFamily::Hopper, false, 128, 256, 4, 2, 1, 1},
};

constexpr uint32_t tileK = 64;

uint64_t ceilDivide(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/// One GEMM over experts' rows: `n` weight rows in all (gate-up: gate and up), sums of length `k`.
struct GemmShape {
  uint32_t n, k;
};

/// The share of the matrix units' rate that a full tile reaches: small tiles reload operands more often.
double efficiency(const CudaTile &tile) {
  if (tile.family == GemmFamily::Portable)
    return tile.tokens >= 64 ? 0.45 : 0.3;
  return tile.tokens >= 128 ? 0.85 : tile.tokens >= 64 ? 0.75 : 0.6;
}

double gemmNs(const CudaTile &tile, const GemmShape &gemm, const Histogram &histogram, const TargetFacts &facts) {
  const GpuFacts &gpu = facts.gpu;
  uint64_t tokenTiles = 0, hit = 0;
  for (uint32_t pairs : histogram.pairs) {
    tokenTiles += ceilDivide(pairs, tile.tokens);
    hit += pairs > 0;
  }
  const double bytes = static_cast<double>(hit) * gemm.n * gemm.k * 2;
  const uint64_t work = tokenTiles * ceilDivide(gemm.n, tile.weights);
  const double tileNs = 2.0 * tile.tokens * tile.weights * static_cast<double>(ceilDivide(gemm.k, tileK)) * tileK /
                        (gpu.matrixFlopsPerNs / gpu.multiprocessors * efficiency(tile));
  // Blocks of one multiprocessor share its matrix units, so waves count multiprocessors.
  const double computeNs = static_cast<double>(ceilDivide(work, gpu.multiprocessors)) * tileNs;
  const double busy = std::min<double>(1, static_cast<double>(work) / gpu.multiprocessors);
  const double memoryNs = work == 0 ? 0 : bytes / (gpu.memoryBytesPerNs * busy);
  return std::max(computeNs, memoryNs);
}

Histogram dense(uint32_t tokens) { return {tokens, {tokens}}; }

GemmShape gateUpOf(uint32_t intermediate, uint32_t hidden) { return {2 * intermediate, hidden}; }
GemmShape downOf(uint32_t intermediate, uint32_t hidden) { return {hidden, intermediate}; }

CudaTile bestTile(const GemmShape &gemm, const Histogram &histogram, const TargetFacts &facts) {
  std::vector<CudaTile> tiles = cudaTiles(facts);
  return *std::min_element(tiles.begin(), tiles.end(), [&](const CudaTile &a, const CudaTile &b) {
    return gemmNs(a, gemm, histogram, facts) < gemmNs(b, gemm, histogram, facts);
  });
}

} // namespace

std::vector<CudaTile> cudaTiles(const TargetFacts &facts) {
  std::vector<CudaTile> tiles;
  if (facts.arch == "sm_90a")
    tiles.assign(std::begin(hopperTiles), std::end(hopperTiles));
  tiles.insert(tiles.end(), std::begin(portableTiles), std::end(portableTiles));
  return tiles;
}

double predictCudaLayer(const LayerShape &shape, const CudaConfig &config, const Histogram &histogram,
                        const TargetFacts &facts, const Calibration &) {
  constexpr double launchNs = 2000;
  const double rowBytes = 2.0 * shape.hidden;
  const double glue = (static_cast<double>(histogram.total()) + histogram.tokens) * rowBytes / facts.gpu.memoryBytesPerNs;
  double ns = 6 * launchNs + glue;
  ns += gemmNs(config.gateUp, gateUpOf(shape.intermediate, shape.hidden), histogram, facts);
  ns += gemmNs(config.down, downOf(shape.intermediate, shape.hidden), histogram, facts);
  if (shape.sharedIntermediate > 0) {
    const Histogram all = dense(histogram.tokens);
    ns += gemmNs(config.sharedGateUp, gateUpOf(shape.sharedIntermediate, shape.hidden), all, facts);
    ns += gemmNs(config.sharedDown, downOf(shape.sharedIntermediate, shape.hidden), all, facts);
  }
  return ns;
}

LayerPlan planCudaTable(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &, const CudaConfig &config) {
  LayerPlan plan;
  plan.config = config;
  plan.table.slots.assign(shape.experts, std::max(histogram.tokens, 1u));
  plan.table.packed.assign(shape.experts, 0);
  plan.table.order.resize(shape.experts);
  std::iota(plan.table.order.begin(), plan.table.order.end(), uint16_t{0});
  const auto pairsOf = [&](uint16_t expert) { return expert < histogram.pairs.size() ? histogram.pairs[expert] : 0; };
  std::sort(plan.table.order.begin(), plan.table.order.end(),
            [&](auto a, auto b) { return std::tuple(pairsOf(b), a) < std::tuple(pairsOf(a), b); });
  plan.predictedNs = predictCudaLayer(shape, config, histogram, facts, calibration);
  return plan;
}

LayerPlan planCudaLayer(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &limits) {
  CudaConfig config;
  config.element = shape.dtype;
  config.gateUp = bestTile(gateUpOf(shape.intermediate, shape.hidden), histogram, facts);
  config.down = bestTile(downOf(shape.intermediate, shape.hidden), histogram, facts);
  const Histogram all = dense(histogram.tokens);
  const uint32_t shared = shape.sharedIntermediate;
  config.sharedGateUp = shared ? bestTile(gateUpOf(shared, shape.hidden), all, facts) : config.gateUp;
  config.sharedDown = shared ? bestTile(downOf(shared, shape.hidden), all, facts) : config.down;
  return planCudaTable(shape, histogram, facts, calibration, limits, config);
}

} // namespace moec
