// Grouped GEMMs of made-up inputs, checked against sums in float64. Include a GEMM's .cuh first.
#pragma once

#include "tests/emulation/Schedules.h"
#include "tests/emulation/machine/TensorMap.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <string>
#include <vector>

namespace moec::emulation {

constexpr GemmConfig withBiases(GemmConfig config) {
  config.biased = true;
  return config;
}

constexpr GemmConfig withWeights(GemmConfig config) {
  config.weighted = true;
  return config;
}

template <GemmConfig C> using ActivationOf = std::conditional_t<C.role == GemmRole::GateUp, SiluGate, NoActivation>;

/// Sizes are multiples of 8, as kernels demand, and of nothing else.
struct GemmCase {
  std::string name;
  uint32_t tokens, k, n, experts, topK;
  enum Routing : uint8_t { Drawn, OneExpert, OneHot, IdleExperts, Padded, FoursPadded, PaddingAlone } routing;
  bool fused;   // gate and up of an expert one after the other in memory
  bool ordered; // with an order of experts, and tiles mixed; `experts` is no multiple of 3
};

inline std::vector<GemmCase> gemmCases() {
  return {{"one token", 1, 72, 40, 4, 2, GemmCase::Drawn, false, false},
          {"odd sizes", 21, 136, 200, 4, 2, GemmCase::Drawn, true, true},
          {"idle experts", 13, 200, 72, 8, 2, GemmCase::IdleExperts, false, true},
          {"all pairs to one expert", 70, 264, 136, 4, 1, GemmCase::OneExpert, true, false},
          {"padding", 30, 64, 88, 4, 2, GemmCase::Padded, false, false},
          {"tiles mixed", 75, 72, 72, 8, 2, GemmCase::Drawn, false, true},
          {"padding alone", 3, 64, 64, 4, 2, GemmCase::PaddingAlone, false, false}};
}

/// Of products with biases, which no step along k and no stage of the pipeline sees: few steps and rows.
inline std::vector<GemmCase> biasedCases() {
  std::vector<GemmCase> cases = gemmCases();
  for (GemmCase &test : cases) {
    test.k = std::min(test.k, 72u);
    test.tokens = std::min(test.tokens, 20u);
  }
  return cases;
}

/// A case's inputs, for one role and element, and what must come out.
struct GemmProblem {
  GemmCase test;
  bench::ReferenceSlots slots;
  std::vector<uint16_t> tokens, weights, up; // GateUp: gate, and up (fused: both in `weights`)
  std::vector<float> bias, upBias;           // [E, n], or empty
  std::vector<float> pairWeights;            // [T * topK], or empty
  std::vector<double> expected;              // [numSlots, n]
  int64_t expertStride;
  bool bf16;
};

/// One expert gets all pairs but one of 20: more token tiles of 16 rows than go together, beside experts with one.
inline GemmCase hotBesideCold() {
  return {"a hot expert and cold ones", 320, 80, 144, 7, 1, GemmCase::OneHot, true, true};
}

inline double dotOf(const uint16_t *a, const uint16_t *b, uint32_t length, bool bf16) {
  double sum = 0;
  for (uint32_t i = 0; i < length; ++i)
    sum += double{bench::elementValue(a[i], bf16)} * bench::elementValue(b[i], bf16);
  return sum;
}

inline std::vector<int32_t> drawCaseIds(const GemmCase &test, std::mt19937_64 &random) {
  std::vector<int32_t> ids = bench::drawIds(test.tokens, test.experts, test.topK, 0.7, random);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = test.routing == GemmCase::OneExpert ? 2
             : test.routing == GemmCase::OneHot
                 ? (i % 20 == 0 ? 1 + static_cast<int32_t>(i / 20 % (test.experts - 1)) : 0)
             : test.routing == GemmCase::IdleExperts ? ids[i] % 3 * 2
             : test.routing == GemmCase::FoursPadded && (i / 4 + i / 8) % 2 == 0
                 ? -1 // of eight pairs the first four, then the others
             : test.routing == GemmCase::PaddingAlone || (test.routing == GemmCase::Padded && i % 3 == 0) ? -1
                                                                                                          : ids[i];
  return ids;
}

inline std::vector<float> drawBiases(size_t count, std::mt19937_64 &random) {
  std::vector<float> biases(count);
  std::normal_distribution<float> normal;
  for (float &bias : biases)
    bias = normal(random);
  return biases;
}

inline GemmProblem makeProblem(const GemmCase &test, const GemmConfig &config) {
  const GemmRole role = config.role;
  const bool biased = config.biased;
  std::mt19937_64 random(test.tokens * 7919 + test.k);
  GemmProblem p;
  p.test = test;
  p.bf16 = config.element == Element::BF16;
  p.slots = bench::referenceSlots(drawCaseIds(test, random), test.experts);
  const bool gated = role == GemmRole::GateUp, fused = gated && test.fused;
  const uint64_t matrix = uint64_t{test.n} * test.k, numSlots = p.slots.slotPair.size();
  const double scale = 1 / std::sqrt(test.k);
  p.tokens = bench::drawElements((gated ? test.tokens : numSlots) * test.k, 1, p.bf16, random);
  p.weights = bench::drawElements(test.experts * matrix * (fused ? 2 : 1), scale, p.bf16, random);
  if (gated && !fused)
    p.up = bench::drawElements(test.experts * matrix, scale, p.bf16, random);
  p.expertStride = static_cast<int64_t>(matrix * (fused ? 2 : 1));
  if (biased)
    p.bias = drawBiases(test.experts * test.n, random);
  if (biased && gated)
    p.upBias = drawBiases(test.experts * test.n, random);
  if (config.weighted)
    p.pairWeights = bench::drawWeights(test.tokens, test.topK, random);
  for (uint32_t expert = 0; expert < test.experts; ++expert)
    for (int32_t slot = p.slots.expertBegin[expert]; slot < p.slots.expertBegin[expert + 1]; ++slot) {
      const uint64_t row =
          gated ? static_cast<uint64_t>(p.slots.slotPair[slot]) / test.topK : static_cast<uint64_t>(slot);
      const double weight = config.weighted ? p.pairWeights[static_cast<size_t>(p.slots.slotPair[slot])] : 1;
      for (uint32_t column = 0; column < test.n; ++column) {
        const uint64_t at = expert * static_cast<uint64_t>(p.expertStride) + uint64_t{column} * test.k;
        const auto product = [&](const uint16_t *weights, const std::vector<float> &bias) {
          return weight * dotOf(&p.tokens[row * test.k], weights, test.k, p.bf16) +
                 (biased ? bias[expert * test.n + column] : 0);
        };
        double value = product(&p.weights[at], p.bias);
        if (gated)
          value = value / (1 + std::exp(-value)) * product(fused ? &p.weights[at + matrix] : &p.up[at], p.upBias);
        p.expected.push_back(value);
      }
    }
  return p;
}

inline GemmProblem makeProblem(const GemmCase &test, GemmRole role, Element element) {
  return makeProblem(test, GemmConfig{.element = element, .role = role});
}

/// The tiles that dispatch would leave; mixed in cases with an order.
inline bench::ReferenceTiles tilesOf(const GemmProblem &p, uint32_t tileTokens) {
  const uint32_t experts = p.test.experts, never = UINT32_MAX;
  std::vector<int32_t> rows, planned;
  for (uint32_t expert = 0; expert < experts; ++expert) {
    rows.push_back(p.slots.expertBegin[expert + 1] - p.slots.expertBegin[expert]);
    planned.push_back(static_cast<int32_t>(p.test.ordered ? (expert * 3 + 1) % experts : expert));
  }
  return bench::referenceTiles(rows, p.slots.expertBegin, tileTokens, p.test.ordered ? 0 : never, planned);
}

/// The arguments on a device, with the tables that dispatch would make for tiles of `tileTokens`. `tables` says whether
/// the launch just before made them.
inline GroupedGemmArgs gemmArgs(DeviceMemory &device, const GemmProblem &p, uint32_t tileTokens,
                                Content tables = Content::Input) {
  const GemmCase &test = p.test;
  const bench::ReferenceTiles tiles = tilesOf(p, tileTokens);
  GroupedGemmArgs args{};
  args.tokens = device.input(p.tokens);
  args.weights = device.constant(p.weights);
  args.upWeights =
      p.up.empty() ? static_cast<const uint16_t *>(args.weights) + uint64_t{test.n} * test.k : device.constant(p.up);
  args.output = device.output<uint16_t>(p.expected.size());
  args.bias = p.bias.empty() ? nullptr : device.constant(p.bias);
  args.upBias = p.upBias.empty() ? nullptr : device.constant(p.upBias);
  args.pairWeights = p.pairWeights.empty() ? nullptr : device.input(p.pairWeights);
  args.slotPair = device.copy(p.slots.slotPair, tables);
  args.tileHead = device.copy(std::vector<TileHead>{tiles.head}, tables);
  args.tiles = device.copy(tiles.tiles, tables);
  args.expertStride = p.expertStride;
  args.k = test.k;
  args.n = test.n;
  args.topK = test.topK;
  args.numExperts = test.experts;
  return args;
}

/// Empty, or how the output differs. One rounding to bf16 is at most 2^-8 of the value, to f16 2^-11; sums are f32.
inline std::string compare(const GemmProblem &p, const void *output) {
  double squares = 0;
  for (double value : p.expected)
    squares += value * value;
  const double rms = std::sqrt(squares / std::max<double>(1, static_cast<double>(p.expected.size())));
  for (size_t i = 0; i < p.expected.size(); ++i) {
    const float got = bench::elementValue(static_cast<const uint16_t *>(output)[i], p.bf16);
    if (!(std::abs(got - p.expected[i]) <= 1.02 / (p.bf16 ? 256 : 2048) * (std::abs(p.expected[i]) + rms)))
      return fmt::format("slot {} column {}: {}, expected {}", i / p.test.n, i % p.test.n, got, p.expected[i]);
  }
  return "";
}

} // namespace moec::emulation
