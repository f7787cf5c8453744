// Shapes, routings and calibrations that the planner's tests share. Everything is a function of its
// arguments.
#pragma once

#include "compiler/core/Plan.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace moec::test {

/// A small, well-mixed generator (splitmix64): the same numbers on every platform.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// 0 to `end` - 1.
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(next() % end); }
  double unit() { return static_cast<double>(next() >> 11) / 9007199254740992.0; }

private:
  uint64_t state;
};

inline TargetFacts facts(CpuIsa isa, uint32_t threads = 2) {
  return {.name = "cpu", .isa = isa, .threads = threads, .l2Bytes = 2u << 20};
}

/// A layer large enough that neither memory nor the fixed costs hide the tiles.
inline LayerShape midShape(uint32_t experts, DType dtype = DType::BF16) {
  return {.hidden = 512, .intermediate = 256, .experts = experts, .topK = 4, .dtype = dtype};
}

/// `tokens` tokens of `topK` pairs each; expert e drawn with weight 1 / (1 + rank)^skew for skews
/// 0, 1, 2, at random ranks. No token has an expert twice.
inline Histogram randomHistogram(Random &random, uint32_t experts, uint32_t tokens, uint32_t topK, int skew) {
  std::vector<double> weight(experts);
  for (uint32_t expert = 0; expert < experts; ++expert) {
    double rank = 1 + random.below(experts);
    weight[expert] = skew == 0 ? 1 : skew == 1 ? 1 / rank : 1 / (rank * rank);
  }
  Histogram histogram{tokens, std::vector<uint32_t>(experts, 0)};
  for (uint32_t token = 0; token < tokens; ++token) {
    std::vector<double> left = weight;
    for (uint32_t k = 0; k < std::min(topK, experts); ++k) {
      double sum = 0;
      for (double w : left)
        sum += w;
      double at = random.unit() * sum;
      uint32_t expert = 0;
      while (expert + 1 < experts && (at -= left[expert]) >= 0)
        ++expert;
      while (left[expert] == 0)
        expert = (expert + 1) % experts;
      left[expert] = 0;
      ++histogram.pairs[expert];
    }
  }
  return histogram;
}

/// A calibration as a noisy measurement gives it: taller tiles are usually, not always, better per
/// row.
inline Calibration noisyCalibration(Random &random, const TargetFacts &facts, DType compute) {
  Calibration calibration = Calibration::assumed(facts, compute);
  for (double &ns : calibration.tileNsPerStep)
    ns *= 0.8 + 0.4 * random.unit();
  calibration.streamNsPerByte *= 0.1 + random.unit();
  calibration.overlap = random.unit();
  calibration.packNsPerByte *= 0.5 + random.unit();
  return calibration;
}

} // namespace moec::test
