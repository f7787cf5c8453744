#include "compiler/core/PlanCuda.h"

#include "compiler/core/JoinedShared.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <tuple>

namespace moec {

namespace {

constexpr double indistinguishable = 1.005;

/// The GPU's part of a calibration; assumed figures where somebody hands in a CPU's.
GpuCalibration gpuOf(const Calibration &calibration, const TargetFacts &facts) {
  return calibration.gpu ? *calibration.gpu : GpuCalibration::assumed(facts);
}

/// The tiles of two-byte elements to choose from: those that were measured and that the target can run; all that it can
/// run where none was.
std::vector<CudaTileCost> tilesOf(const GpuCalibration &gpu, const TargetFacts &facts) {
  std::vector<CudaTileCost> tiles;
  for (const CudaTileCost &cost : gpu.tiles)
    if (cost.tile.family != GemmFamily::Fp8 && runsOn(cost.tile, facts.arch) &&
        residentBlocks(cost.tile, facts.gpu) > 0)
      tiles.push_back(cost);
  if (tiles.empty())
    for (const CudaTile &tile : cudaTiles(facts))
      tiles.push_back(assumedTileCost(tile, facts));
  return tiles;
}

/// Those for the routed experts. Of e4m3 no classes are measured by a calibration: what it lacks is assumed.
std::vector<CudaTileCost> expertTilesOf(const GpuCalibration &gpu, const LayerShape &shape, const TargetFacts &facts) {
  if (!multipliesE4M3(shape, facts))
    return tilesOf(gpu, facts);
  std::vector<CudaTileCost> tiles;
  for (const CudaTile &tile : expertTiles(shape, facts))
    tiles.push_back(gpu.costOf(tile, facts));
  return tiles;
}

/// What each tile takes for a GEMM, in the order of `tiles`.
std::vector<double> gemmNs(const std::vector<CudaTileCost> &tiles, const CudaGemm &gemm, std::span<const uint32_t> rows,
                           const TargetFacts &facts, const GpuCalibration &gpu) {
  std::vector<double> ns;
  for (const CudaTileCost &tile : tiles)
    ns.push_back(cudaGemmCost(cudaGemmWork(tile.tile, gemm, rows, facts.gpu), tile, gpu).ns);
  return ns;
}

/// Those for dense products. Where none was measured, any will do: all that the target can run at assumed costs.
std::vector<CudaTileCost> denseTilesOf(const std::vector<CudaTileCost> &tiles, const TargetFacts &facts) {
  std::vector<CudaTileCost> dense;
  std::copy_if(tiles.begin(), tiles.end(), std::back_inserter(dense),
               [](const CudaTileCost &cost) { return hasDenseForm(cost.tile); });
  if (dense.empty())
    for (const CudaTile &tile : cudaTiles(facts))
      if (hasDenseForm(tile))
        dense.push_back(assumedTileCost(tile, facts));
  return dense;
}

/// The size of a shared expert that has products of its own; else 0.
uint32_t denseShared(const LayerShape &shape) { return joinsShared(shape) ? 0 : shape.sharedIntermediate; }

/// The shared expert's tile: its rows are the step's tokens.
CudaTile sharedTile(const std::vector<CudaTileCost> &tiles, const CudaGemm &gemm, uint32_t tokens,
                    const TargetFacts &facts, const GpuCalibration &gpu) {
  const std::vector<CudaTileCost> dense = denseTilesOf(tiles, facts);
  const std::vector<double> ns = gemmNs(dense, gemm, std::span(&tokens, 1), facts, gpu);
  return dense[static_cast<size_t>(std::min_element(ns.begin(), ns.end()) - ns.begin())].tile;
}

CudaGemmCost oneGemm(const CudaTile &tile, const CudaGemm &gemm, std::span<const uint32_t> rows,
                     const TargetFacts &facts, const GpuCalibration &gpu) {
  return cudaGemmCost(cudaGemmWork(tile, gemm, rows, facts.gpu), gpu.costOf(tile, facts), gpu);
}

Histogram doubled(const Histogram &histogram) {
  Histogram twice = histogram;
  const auto timesTwo = [](uint32_t count) { return count > UINT32_MAX / 2 ? UINT32_MAX : 2 * count; };
  twice.tokens = timesTwo(histogram.tokens);
  for (uint32_t &pairs : twice.pairs)
    pairs = timesTwo(pairs);
  return twice;
}

CudaConfig choose(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                  const Calibration &calibration) {
  const std::vector<CudaCandidate> candidates = cudaCandidates(shape, histogram, facts, calibration);
  const Histogram twice = doubled(histogram);
  std::vector<std::pair<const CudaCandidate *, double>> close; // and nanoseconds of twice the load
  double leastNs = 0;
  for (const CudaCandidate &candidate : candidates) {
    if (candidate.predictedNs > candidates.front().predictedNs * indistinguishable)
      break;
    const double ns = predictCudaLayer(shape, candidate.config, twice, facts, calibration);
    leastNs = close.empty() ? ns : std::min(leastNs, ns);
    close.emplace_back(&candidate, ns);
  }
  std::erase_if(close, [&](const auto &entry) { return entry.second > leastNs * indistinguishable; });
  const auto first = std::min_element(close.begin(), close.end(),
                                      [](const auto &a, const auto &b) { return a.first->place < b.first->place; });
  return first->first->config;
}

/// Pairs per expert when `tokens` tokens pick `topK` of `experts` by chance: the middles of E equal shares of the
/// binomial distribution, built from its most likely value outwards, so that nothing but + - * / is needed.
Histogram chanceHistogram(uint32_t tokens, uint32_t topK, uint32_t experts) {
  Histogram histogram = Histogram::uniform(tokens, topK, experts);
  if (topK >= experts)
    return histogram;
  const double odds = static_cast<double>(topK) / (experts - topK);
  const auto mode = static_cast<uint32_t>((uint64_t{tokens} + 1) * topK / experts);
  constexpr double negligible = 1e-9;
  uint32_t first = std::min(mode, tokens);
  std::vector<double> below, weights{1};
  for (double weight = 1; first > 0 && weight > negligible; --first) {
    weight *= first / (odds * (tokens - first + 1.0));
    below.push_back(weight);
  }
  for (uint32_t count = std::min(mode, tokens); count < tokens && weights.back() > negligible; ++count)
    weights.push_back(weights.back() * odds * (tokens - count) / (count + 1.0));
  weights.insert(weights.begin(), below.rbegin(), below.rend());
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  size_t at = 0;
  double reached = weights[0];
  for (uint32_t expert = 0; expert < experts; ++expert) {
    while (at + 1 < weights.size() && reached < sum * (expert + 0.5) / experts)
      reached += weights[++at];
    histogram.pairs[expert] = first + static_cast<uint32_t>(at);
  }
  return histogram;
}

} // namespace

std::vector<CudaCandidate> cudaCandidates(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                                          const Calibration &calibration) {
  const GpuCalibration gpu = gpuOf(calibration, facts);
  const std::vector<CudaTileCost> tiles = expertTilesOf(gpu, shape, facts);
  const std::vector<uint32_t> rows = groupedRows(shape, histogram);
  const std::vector<double> gateUp =
      gemmNs(tiles, CudaGemm::gateUp(shape.intermediate, shape.hidden), rows, facts, gpu);
  const std::vector<double> down = gemmNs(tiles, CudaGemm::down(shape.intermediate, shape.hidden), rows, facts, gpu);
  CudaConfig config{.element = shape.dtype, .gateUp = {}, .down = {}, .sharedGateUp = {}, .sharedDown = {}};
  double sharedNs = 0;
  if (const uint32_t shared = denseShared(shape)) {
    const std::vector<CudaTileCost> plain = tilesOf(gpu, facts);
    const CudaGemm first = CudaGemm::gateUp(shared, shape.hidden), second = CudaGemm::down(shared, shape.hidden);
    config.sharedGateUp = sharedTile(plain, first, histogram.tokens, facts, gpu);
    config.sharedDown = sharedTile(plain, second, histogram.tokens, facts, gpu);
    const std::span<const uint32_t> tokens(&histogram.tokens, 1);
    sharedNs += oneGemm(config.sharedGateUp, first, tokens, facts, gpu).ns;
    sharedNs += oneGemm(config.sharedDown, second, tokens, facts, gpu).ns;
  }
  std::vector<CudaCandidate> candidates;
  for (size_t i = 0; i < tiles.size(); ++i)
    for (size_t j = 0; j < tiles.size(); ++j) {
      if (tiles[i].tile.tokens != tiles[j].tile.tokens)
        continue;
      config.gateUp = tiles[i].tile;
      config.down = tiles[j].tile;
      if (!denseShared(shape)) {
        config.sharedGateUp = config.gateUp; // of no meaning, but the same for the same kernels
        config.sharedDown = config.down;
      }
      const CudaProducts products = CudaProducts::of(shape, histogram.tokens, config.gateUp, config.down);
      const CudaFewCosts few = cudaFewCosts(shape, products, rows, gpu);
      const double productsNs = (few.gateUp ? few.gateUp->ns : gateUp[i]) + (few.down ? few.down->ns : down[j]);
      const double glueNs = cudaGlueCost(shape, products, histogram, gpu, facts.gpu.multiprocessors).ns();
      const double quantiseNs = cudaQuantiseCost(shape, products, histogram, gpu).ns();
      candidates.push_back({config,
                            glueNs + sharedNs + quantiseNs + productsNs - earlyDownNs(config.gateUp, config.down, gpu),
                            static_cast<uint32_t>(candidates.size())});
    }
  std::sort(candidates.begin(), candidates.end(), [](const CudaCandidate &a, const CudaCandidate &b) {
    return std::tuple(a.predictedNs, a.place) < std::tuple(b.predictedNs, b.place);
  });
  return candidates;
}

CudaStepCost cudaStepCost(const LayerShape &shape, const CudaConfig &config, const Histogram &histogram,
                          const TargetFacts &facts, const Calibration &calibration) {
  const GpuCalibration gpu = gpuOf(calibration, facts);
  CudaStepCost cost;
  const CudaProducts products = CudaProducts::of(shape, histogram.tokens, config.gateUp, config.down);
  cost.glue = cudaGlueCost(shape, products, histogram, gpu, facts.gpu.multiprocessors);
  const CudaGemm gateUp = CudaGemm::gateUp(shape.intermediate, shape.hidden);
  const std::vector<uint32_t> grouped = groupedRows(shape, histogram);
  const CudaFewCosts few = cudaFewCosts(shape, products, grouped, gpu);
  cost.gateUp = few.gateUp ? *few.gateUp : oneGemm(config.gateUp, gateUp, grouped, facts, gpu);
  cost.quantise = cudaQuantiseCost(shape, products, histogram, gpu);
  cost.earlyDownNs = earlyDownNs(config.gateUp, config.down, gpu);
  cost.down = few.down ? *few.down
                       : oneGemm(config.down, CudaGemm::down(shape.intermediate, shape.hidden), grouped, facts, gpu);
  if (const uint32_t shared = denseShared(shape)) {
    const std::span<const uint32_t> rows(&histogram.tokens, 1);
    cost.sharedGateUp = oneGemm(config.sharedGateUp, CudaGemm::gateUp(shared, shape.hidden), rows, facts, gpu);
    cost.sharedDown = oneGemm(config.sharedDown, CudaGemm::down(shared, shape.hidden), rows, facts, gpu);
  }
  return cost;
}

double predictCudaLayer(const LayerShape &shape, const CudaConfig &config, const Histogram &histogram,
                        const TargetFacts &facts, const Calibration &calibration) {
  return cudaStepCost(shape, config, histogram, facts, calibration).ns();
}

LayerPlan planCudaTable(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &, const CudaConfig &config) {
  LayerPlan plan;
  plan.config = config;
  plan.table.slots.assign(shape.experts, std::max(histogram.tokens, 1u));
  plan.table.packed.assign(shape.experts, 0);
  // As they are numbered, which is by chance: costliest first takes up to a tenth longer (experts whose weights are
  // read for few rows end up side by side). Where both kinds of experts count, dispatch mixes their tiles by the step's
  // own counts.
  plan.table.order.resize(shape.experts);
  std::iota(plan.table.order.begin(), plan.table.order.end(), uint16_t{0});
  plan.predictedNs = predictCudaLayer(shape, config, histogram, facts, calibration);
  return plan;
}

LayerPlan planCudaLayer(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &limits) {
  return planCudaTable(shape, histogram, facts, calibration, limits, choose(shape, histogram, facts, calibration));
}

LayerPlan planCudaGeneric(const LayerShape &shape, uint32_t tokens, const TargetFacts &facts,
                          const Calibration &calibration, const PlanLimits &limits) {
  return planCudaLayer(shape, chanceHistogram(tokens, shape.topK, shape.experts), facts, calibration, limits);
}

} // namespace moec
