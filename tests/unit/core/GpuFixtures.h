// Targets, models and routings that the GPU planner's tests share.
#pragma once

#include "compiler/core/PlanCuda.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/Fixtures.h"

#include <string>
#include <vector>

namespace moec::test {

inline const char *const gpuTargets[] = {"a100", "l40s", "rtx4090", "rtx5090", "h100", "h200", "b200", "sm_90"};

inline TargetFacts gpuFacts(const std::string &name) {
  Result<TargetFacts> facts = targetByName(name, {});
  REQUIRE(facts.ok());
  return *facts;
}

inline Calibration gpuCalibration(const TargetFacts &facts) { return Calibration::assumed(facts, DType::BF16); }

/// Hidden, intermediate, experts and experts a token of the models that we know; some have a shared expert.
inline std::vector<LayerShape> knownLayers() {
  const auto layer = [](uint32_t hidden, uint32_t intermediate, uint32_t experts, uint32_t topK, uint32_t shared = 0) {
    return LayerShape{.hidden = hidden,
                      .intermediate = intermediate,
                      .experts = experts,
                      .topK = topK,
                      .dtype = DType::BF16,
                      .sharedIntermediate = shared,
                      .sharedGate = false,
                      .sharedAlike = shared != 0};
  };
  const auto onInput = [](LayerShape shape) {
    shape.weightOnInput = true;
    return shape;
  };
  return {
      layer(4096, 14336, 8, 2),                // Mixtral-8x7B
      layer(6144, 16384, 8, 2),                // Mixtral-8x22B
      layer(2048, 768, 128, 8),                // Qwen3-30B-A3B
      layer(4096, 1536, 128, 8),               // Qwen3-235B-A22B
      layer(7168, 2048, 256, 8, 2048),         // DeepSeek-V3
      layer(2048, 1408, 64, 6, 2816),          // DeepSeek-V2-Lite
      layer(3584, 2560, 64, 8, 20480),         // Qwen2-57B-A14B
      layer(2048, 1024, 64, 8),                // OLMoE-1B-7B
      layer(2880, 2880, 128, 4),               // gpt-oss-120b
      layer(2880, 2880, 32, 4),                // gpt-oss-20b
      onInput(layer(5120, 8192, 16, 1, 8192)), // Llama-4-Scout
      layer(7168, 2048, 384, 8, 2048),         // Kimi-K2
      layer(5120, 1536, 160, 8, 1536),         // GLM-4.5
      layer(4096, 1408, 128, 8, 1408),         // GLM-4.5-Air
      layer(384, 1536, 32, 1),                 // SwinV2-MoE-S
      layer(768, 3072, 256, 1),                // Switch-base-256
  };
}

/// A histogram without drawing token by token: about `tokens * topK` pairs, `idle` of 4 experts without any, the rest
/// from 0 to twice the mean.
inline Histogram roughHistogram(Random &random, const LayerShape &shape, uint32_t tokens, uint32_t idle) {
  Histogram histogram{tokens, std::vector<uint32_t>(shape.experts, 0)};
  const uint64_t mean = uint64_t{tokens} * shape.topK / shape.experts;
  for (uint32_t &pairs : histogram.pairs)
    if (random.below(4) >= idle)
      pairs = std::min<uint32_t>(tokens, random.below(static_cast<uint32_t>(2 * mean + 2)));
  return histogram;
}

} // namespace moec::test
