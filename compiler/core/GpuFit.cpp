#include "compiler/core/GpuFit.h"

#include "compiler/core/CudaTiles.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace moec {

namespace {

constexpr uint32_t shortSum = 512, longSum = 2048; // of Tile cases: their weights stay in the second-level cache
constexpr uint64_t manyPairs = 1u << 16, oneBlockPairs = 4096, fewPairs = 64;
constexpr int rounds = 40; // of the fit; its figures depend on each other only weakly
constexpr double leastNs = 1, leastRate = 1e-6;

GpuCase tileCase(const CudaTile &tile, uint32_t k, const GpuFacts &gpu) {
  // As many column tiles as multiprocessors: whole waves, one for each of 16 token tiles.
  return {.kind = GpuCaseKind::Tile,
          .tile = tile,
          .gemm = {.n = gpu.multiprocessors * tile.weights, .k = k},
          .rows = {16u * tile.tokens},
          .amount = 0};
}

GpuCase gemmCase(GpuCaseKind kind, const CudaTile &tile, const CudaGemm &gemm, std::vector<uint32_t> rows) {
  return {.kind = kind, .tile = tile, .gemm = gemm, .rows = std::move(rows), .amount = 0};
}

GpuCase amountCase(GpuCaseKind kind, uint64_t amount) {
  return {.kind = kind, .tile = {}, .gemm = {}, .rows = {}, .amount = amount};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// One round: every figure anew from its samples, with the others as they are.
class Fit {
public:
  Fit(std::span<const GpuSample> all, const TargetFacts &facts) : facts(facts), gpu(GpuCalibration::assumed(facts)) {
    for (const GpuSample &sample : all)
      if (sample.ns > 0 && sample.ns <= std::numeric_limits<double>::max())
        samples.push_back(sample);
    keepMeasuredTiles();
  }

  GpuCalibration run() {
    update(gpu.launchNs, GpuCaseKind::Launch, [](const GpuSample &sample) { return sample.ns; });
    update(gpu.copyBytesPerNs, GpuCaseKind::Copy,
           [](const GpuSample &sample) { return std::max(leastRate, 2.0 * static_cast<double>(sample.what.amount) / sample.ns); });
    fitDispatch();
    for (int round = 0; round < rounds; ++round) {
      update(gpu.memoryBytesPerNs, GpuCaseKind::Memory, [&](const GpuSample &sample) {
        return std::max(leastRate, workOf(sample).memoryBytes / longerNs(sample));
      });
      update(gpu.perSmBytesPerNs, GpuCaseKind::OneSm, [&](const GpuSample &sample) {
        return std::max(leastRate, workOf(sample).loadBytes / longerNs(sample));
      });
      for (CudaTileCost &tile : gpu.tiles)
        fitTile(tile);
      update(gpu.overlapLoss, GpuCaseKind::Overlap, [&](const GpuSample &sample) { return lossOf(sample); });
    }
    gpu.overlapLoss = std::clamp(gpu.overlapLoss, 0.0, 1.0);
    return gpu;
  }

private:
  void keepMeasuredTiles() {
    const auto measured = [&](const CudaTileCost &cost) {
      return std::any_of(samples.begin(), samples.end(), [&](const GpuSample &sample) {
        return sample.what.kind == GpuCaseKind::Tile && sample.what.tile == cost.tile;
      });
    };
    if (std::any_of(gpu.tiles.begin(), gpu.tiles.end(), measured))
      std::erase_if(gpu.tiles, [&](const CudaTileCost &cost) { return !measured(cost); });
  }

  void update(double &figure, GpuCaseKind kind, const std::function<double(const GpuSample &)> &of) {
    std::vector<double> values;
    for (const GpuSample &sample : samples)
      if (sample.what.kind == kind)
        values.push_back(of(sample));
    if (!values.empty())
      figure = median(std::move(values));
  }

  CudaGemmWork workOf(const GpuSample &sample) const {
    return cudaGemmWork(sample.what.tile, sample.what.gemm, sample.what.rows, facts.gpu);
  }
  CudaGemmCost costOf(const GpuSample &sample) const {
    return cudaGemmCost(workOf(sample), gpu.costOf(sample.what.tile, facts), gpu);
  }

  /// What is left of a sample for the longer of arithmetic and memory.
  double longerNs(const GpuSample &sample) const {
    const CudaGemmCost cost = costOf(sample);
    const double longer = std::max(cost.tilesNs(), cost.memoryNs);
    return std::max(leastNs, sample.ns - (cost.ns - longer));
  }

  double lossOf(const GpuSample &sample) const {
    const CudaGemmCost cost = costOf(sample);
    const double longer = std::max(cost.tilesNs(), cost.memoryNs), shorter = std::min(cost.tilesNs(), cost.memoryNs);
    return std::clamp((sample.ns - gpu.launchNs - longer) * longer / std::max(leastNs, shorter * shorter), 0.0, 1.0);
  }

  /// From the longest and the shortest sum: their difference is steps alone.
  void fitTile(CudaTileCost &tile) {
    const GpuSample *shortest = nullptr, *longest = nullptr;
    for (const GpuSample &sample : samples) {
      if (sample.what.kind != GpuCaseKind::Tile || sample.what.tile != tile.tile)
        continue;
      if (!shortest || sample.what.gemm.k < shortest->what.gemm.k)
        shortest = &sample;
      if (!longest || sample.what.gemm.k > longest->what.gemm.k)
        longest = &sample;
    }
    if (!shortest)
      return;
    const CudaGemmWork few = workOf(*shortest), many = workOf(*longest);
    const double fewNs = longerNs(*shortest), manyNs = longerNs(*longest);
    if (many.steps > few.steps)
      tile.stepNs = std::max(0.0, (manyNs / many.waves - fewNs / few.waves) / (many.steps - few.steps));
    else
      tile.stepNs = std::max(0.0, manyNs / many.waves - tile.fixedNs) / many.steps;
    // No tile takes longer than its sample, should noise have made the difference too large.
    tile.stepNs = std::min(tile.stepNs, manyNs / many.waves / many.steps);
    if (many.steps > few.steps)
      tile.fixedNs = std::max(0.0, manyNs / many.waves - many.steps * tile.stepNs);
  }

  void fitDispatch() {
    const GpuSample *few = nullptr, *many = nullptr;
    for (const GpuSample &sample : samples) {
      if (sample.what.kind != GpuCaseKind::Dispatch)
        continue;
      if (sample.what.amount > oneBlockPairs)
        gpu.dispatchGridNs = sample.ns;
      else if (!few || sample.what.amount < few->what.amount)
        few = &sample;
      if (sample.what.amount <= oneBlockPairs && (!many || sample.what.amount > many->what.amount))
        many = &sample;
    }
    if (!few)
      return;
    const auto pairs = [](const GpuSample *sample) { return static_cast<double>(sample->what.amount); };
    if (pairs(many) > pairs(few))
      gpu.dispatchNsPerPair = std::max(0.0, (many->ns - few->ns) / (pairs(many) - pairs(few)));
    gpu.dispatchNs = std::max(0.0, few->ns - gpu.launchNs - gpu.dispatchNsPerPair * pairs(few));
  }

  const TargetFacts &facts;
  GpuCalibration gpu;
  std::vector<GpuSample> samples;
};

} // namespace

std::vector<GpuCase> calibrationCases(const TargetFacts &facts) {
  const std::vector<CudaTile> tiles = cudaTiles(facts);
  if (tiles.empty())
    return {};
  std::vector<GpuCase> cases;
  for (const CudaTile &tile : tiles)
    for (uint32_t k : {shortSum, longSum})
      cases.push_back(tileCase(tile, k, facts.gpu));
  const auto fewest = *std::min_element(tiles.begin(), tiles.end(), [](const auto &a, const auto &b) { return a.tokens < b.tokens; });
  const uint32_t quarter = std::max(1u, facts.gpu.multiprocessors / 4);
  cases.push_back(gemmCase(GpuCaseKind::Launch, fewest, {.n = 4096, .k = 4096}, std::vector<uint32_t>(16, 0)));
  for (const CudaTile &tile : tiles) {
    // A tile of a rows an expert: from many rows on, arithmetic takes as long as memory. 16 experts of 32 MiB.
    if (tile.tokens == fewest.tokens)
      cases.push_back(gemmCase(GpuCaseKind::Memory, tile, {.n = 4096, .k = 4096}, std::vector<uint32_t>(16, 1)));
    if (tile.tokens == 128)
      cases.push_back(gemmCase(GpuCaseKind::Overlap, tile, {.n = 4096, .k = 4096}, std::vector<uint32_t>(16, 128)));
  }
  cases.push_back(gemmCase(GpuCaseKind::OneSm, fewest, {.n = quarter * fewest.weights, .k = 16384}, {1}));
  cases.push_back(amountCase(GpuCaseKind::Copy, uint64_t{1} << 28));
  for (uint64_t pairs : {fewPairs, oneBlockPairs, manyPairs})
    cases.push_back(amountCase(GpuCaseKind::Dispatch, pairs));
  return cases;
}

GpuCalibration fitGpuCalibration(std::span<const GpuSample> samples, const TargetFacts &facts) {
  return Fit(samples, facts).run();
}

} // namespace moec
