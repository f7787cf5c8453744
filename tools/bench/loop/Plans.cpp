#include "compiler/core/PlanCuda.h"
#include "tools/bench/loop/LoopBench.h"

#include <algorithm>
#include <random>

namespace moec::bench {

namespace {

/// Five heights: the tallest and the lowest, as the planner's sets have them, and three drawn from between.
std::vector<LayerPlan> otherHeights(const TargetFacts &facts, const LayerPlan &live, std::mt19937 &random) {
  constexpr size_t number = 32;
  const auto tallest = static_cast<uint16_t>(facts.maxTileRows());
  std::vector<uint16_t> between;
  for (uint16_t rows = 2; rows < tallest; ++rows)
    between.push_back(rows);
  std::vector<LayerPlan> plans;
  while (plans.size() < number) {
    std::shuffle(between.begin(), between.end(), random);
    std::vector<uint16_t> heights(between.begin(), between.begin() + std::min<ptrdiff_t>(3, std::ssize(between)));
    heights.insert(heights.end(), {tallest, 1});
    std::sort(heights.begin(), heights.end(), std::greater<>());
    plans.push_back(live);
    plans.back().config.cpu.tileRows = std::move(heights);
  }
  return plans;
}

} // namespace

std::vector<LayerPlan> otherPlans(const tool::BenchSession &bench, uint32_t seed) {
  GenerationHost &host = bench.session->host();
  const uint32_t layer = bench.session->layers().front();
  const LayerPlan live = host.livePlan(layer);
  std::mt19937 random(seed);
  if (bench.facts.device == DeviceKind::Cpu)
    return otherHeights(bench.facts, live, random);
  std::vector<LayerPlan> plans;
  const Histogram steady = Histogram::uniform(bench.maxTokens, bench.shape.topK, bench.shape.experts);
  for (const CudaCandidate &candidate : cudaCandidates(bench.shape, steady, bench.facts, host.calibration())) {
    plans.push_back(live);
    plans.back().config.cuda = candidate.config;
  }
  std::shuffle(plans.begin(), plans.end(), random);
  return plans;
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto index = static_cast<size_t>(share * static_cast<double>(values.size()));
  return values[std::min(index, values.size() - 1)];
}

} // namespace moec::bench
