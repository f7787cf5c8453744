#include "compiler/core/GpuFit.h"

#include "compiler/core/CudaTiles.h"
#include "compiler/core/Median.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace moec {

namespace {

constexpr uint32_t shortSum = 512, longSum = 4096; // of Tile cases
constexpr uint64_t mostRowBytes = 128 << 20;
constexpr uint64_t manyPairs = 1u << 16, oneBlockPairs = 4096, fewPairs = 64;
constexpr int rounds = 40; // of the fit; its figures depend on each other only weakly
constexpr double leastNs = 1, leastRate = 1e-6;

GpuCase gemmCase(GpuCaseKind kind, const CudaTile &tile, const CudaGemm &gemm, std::vector<uint32_t> rows) {
  return {.kind = kind, .tile = tile, .gemm = gemm, .rows = std::move(rows), .amount = 0};
}

/// Eight whole waves, or as many as there is room for, with little to read: a part of the columns that a wave has room
/// for, and more token tiles instead.
GpuCase tileCase(const CudaTile &tile, uint32_t k, const GpuFacts &gpu) {
  const uint32_t parts = gpu.multiprocessors % 4 == 0 ? 4 : gpu.multiprocessors % 2 == 0 ? 2 : 1;
  const uint32_t n = gpu.multiprocessors / parts * tile.weights, rows = parts * tile.tokens; // of a wave
  uint32_t waves = 8;
  while (waves > 1 && 2 * uint64_t{waves} * rows * (k + n) > mostRowBytes)
    --waves;
  return gemmCase(GpuCaseKind::Tile, tile, {.n = n, .k = k}, {waves * rows});
}

/// As many rows for each of 16 experts of 32 MiB as make arithmetic and memory about equally long, as far as is known.
GpuCase overlapCase(const CudaTileCost &tile, const TargetFacts &facts, const GpuCalibration &gpu) {
  const CudaGemm gemm{.n = 4096, .k = 4096};
  GpuCase best;
  double bestRatio = 0;
  for (uint32_t tiles = 1; tiles <= 8; ++tiles) {
    std::vector<uint32_t> rows(16, tiles * tile.tile.tokens);
    const CudaGemmCost cost = cudaGemmCost(cudaGemmWork(tile.tile, gemm, rows, facts.gpu), tile, gpu);
    const double ratio = std::min(cost.computeNs, cost.memoryNs) / std::max(cost.computeNs, cost.memoryNs);
    if (ratio > bestRatio && cost.computeNs >= cost.loadNs) {
      bestRatio = ratio;
      best = gemmCase(GpuCaseKind::Overlap, tile.tile, gemm, std::move(rows));
    }
  }
  return best;
}

GpuCase amountCase(GpuCaseKind kind, uint64_t amount) {
  return {.kind = kind, .tile = {}, .gemm = {}, .rows = {}, .amount = amount};
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
    update(gpu.copyBytesPerNs, GpuCaseKind::Copy, [](const GpuSample &sample) {
      return std::max(leastRate, 2.0 * static_cast<double>(sample.what.amount) / sample.ns);
    });
    fitDispatch();
    for (int round = 0; round < rounds; ++round) {
      update(gpu.memoryBytesPerNs, GpuCaseKind::Memory, [&](const GpuSample &sample) {
        return std::max(leastRate, workOf(sample).memoryBytes / longerNs(sample));
      });
      fitPerSm();
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

  /// What is left of a sample for the longer of tiles and memory.
  double longerNs(const GpuSample &sample) const {
    const CudaGemmCost cost = costOf(sample);
    return std::max(leastNs, sample.ns - (cost.ns - cost.longerNs()));
  }

  double lossOf(const GpuSample &sample) const {
    const CudaGemmCost cost = costOf(sample);
    const double shorter = std::max(leastNs, cost.shorterNs());
    return std::clamp(gpu.overlapLoss + (sample.ns - cost.ns) / shorter * (cost.longerNs() / shorter), 0.0, 1.0);
  }

  /// The rate of the few tiles, unless some tile class was seen to take in more: then their arithmetic held them up.
  void fitPerSm() {
    const auto rateOf = [&](const GpuSample &sample) { return workOf(sample).loadBytes / longerNs(sample); };
    update(gpu.perSmBytesPerNs, GpuCaseKind::OneSm,
           [&](const GpuSample &sample) { return std::max(leastRate, rateOf(sample)); });
    for (const GpuSample &sample : samples)
      if (sample.what.kind == GpuCaseKind::Tile)
        gpu.perSmBytesPerNs = std::max(gpu.perSmBytesPerNs, rateOf(sample));
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
    const double fewNs = longerNs(*shortest) / few.waves, manyNs = longerNs(*longest) / many.waves;
    if (many.steps > few.steps) {
      // Noise must not make the difference larger than the whole.
      tile.stepNs = std::clamp((manyNs - fewNs) / (many.steps - few.steps), 0.0, manyNs / many.steps);
      tile.fixedNs = std::max(0.0, manyNs - many.steps * tile.stepNs);
    } else {
      tile.stepNs = std::max(0.0, manyNs - tile.fixedNs) / many.steps;
    }
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
  std::vector<GpuCase> cases;
  if (tiles.empty())
    return cases;
  for (const CudaTile &tile : tiles)
    for (uint32_t k : {shortSum, longSum})
      cases.push_back(tileCase(tile, k, facts.gpu));
  const auto fewest =
      *std::min_element(tiles.begin(), tiles.end(), [](const auto &a, const auto &b) { return a.tokens < b.tokens; });
  cases.push_back(gemmCase(GpuCaseKind::Launch, fewest, {.n = 4096, .k = 4096}, std::vector<uint32_t>(16, 0)));
  cases.push_back(gemmCase(GpuCaseKind::Memory, fewest, {.n = 4096, .k = 4096}, std::vector<uint32_t>(16, 1)));
  const uint32_t few = std::max(1u, facts.gpu.multiprocessors / 32);
  cases.push_back(gemmCase(GpuCaseKind::OneSm, fewest, {.n = few * fewest.weights, .k = 16384}, {1}));
  const GpuCalibration assumed = GpuCalibration::assumed(facts);
  for (const CudaTileCost &tile : assumed.tiles)
    if (GpuCase what = overlapCase(tile, facts, assumed); !what.rows.empty() && tile.tile.tokens >= 64)
      cases.push_back(std::move(what));
  cases.push_back(amountCase(GpuCaseKind::Copy, uint64_t{1} << 28));
  for (uint64_t pairs : {fewPairs, oneBlockPairs, manyPairs})
    cases.push_back(amountCase(GpuCaseKind::Dispatch, pairs));
  return cases;
}

GpuCalibration fitGpuCalibration(std::span<const GpuSample> samples, const TargetFacts &facts) {
  return Fit(samples, facts).run();
}

} // namespace moec
