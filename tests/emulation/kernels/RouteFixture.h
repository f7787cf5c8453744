// Routing of made-up logits, checked against bench::referenceRoute. Include route.cuh first.
#pragma once

#include "tests/emulation/Schedules.h"
#include "tools/bench/gpu/Reference.h"

#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace moec::emulation {

/// Logits of which every third token has some that are NaN or infinite, and one has no finite one.
inline std::vector<float> oddLogits(uint32_t tokens, uint32_t experts) {
  std::mt19937_64 random(tokens * 131 + experts);
  std::normal_distribution<float> normal(0, 2);
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  std::vector<float> logits(size_t{tokens} * experts);
  for (size_t i = 0; i < logits.size(); ++i) {
    const size_t token = i / experts;
    logits[i] = token == 4 || (token % 3 == 1 && random() % 3 == 0) ? bad[random() % 3] : normal(random);
  }
  return logits;
}

template <RouteConfig C> std::string runRoute(uint32_t tokens, uint64_t seed) {
  const std::vector<float> logits = oddLogits(tokens, C.experts);
  std::vector<float> correction(C.experts);
  for (uint32_t e = 0; e < C.experts; ++e)
    correction[e] = 0.02f * static_cast<float>(e * 7 % 11) - 0.1f;
  uint32_t nonFinite = 0;
  for (float logit : logits)
    nonFinite += !std::isfinite(logit);
  const double epsilon = C.renormalise ? 1e-20 : 0, scale = 2.5;

  DeviceMemory device;
  RouteArgs args{.logits = device.input(logits),
                 .correctionBias = C.correctionBias ? device.constant(correction) : nullptr,
                 .ids = device.output<int32_t>(size_t{tokens} * C.topK),
                 .weights = device.output<float>(size_t{tokens} * C.topK),
                 .numNonFinite = device.output(std::vector<uint32_t>{0}),
                 .numTokens = tokens,
                 .logitStride = C.experts,
                 .epsilon = static_cast<float>(epsilon),
                 .scale = static_cast<float>(scale)};
  if (const auto failure = launch(device, {.blocks = 2, .threads = C.threads}, seed, [&] { route<C>(args); }))
    return failure->message;
  for (uint32_t token = 0; token < tokens; ++token) {
    const bench::ReferenceRoute expected =
        bench::referenceRoute(C, &logits[size_t{token} * C.experts], correction.data(), epsilon, scale);
    if (expected.margin > 0 && expected.margin < 1e-6)
      return fmt::format("token {} is too close to call: the test needs other logits", token);
    for (uint32_t k = 0; k < C.topK; ++k) {
      const size_t at = size_t{token} * C.topK + k;
      if (args.ids[at] != expected.ids[k])
        return fmt::format("token {} choice {}: expert {}, expected {}", token, k, args.ids[at], expected.ids[k]);
      if (!(std::abs(args.weights[at] - expected.weights[k]) <= 2e-5 * std::max(1e-3, std::abs(expected.weights[k]))))
        return fmt::format("token {} choice {}: weight {}, expected {}", token, k, args.weights[at],
                           expected.weights[k]);
    }
  }
  return *args.numNonFinite == nonFinite
             ? ""
             : fmt::format("{} non-finite logits counted, there are {}", *args.numNonFinite, nonFinite);
}

} // namespace moec::emulation
