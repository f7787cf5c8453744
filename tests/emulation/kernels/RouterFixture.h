// One launch of routerLogits or routerLogitsSm90. Include their .cuh first.
#pragma once

#include "tests/emulation/Schedules.h"
#include "tests/emulation/machine/DynamicShared.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>
#include <random>
#include <string>
#include <vector>

namespace moec::emulation {

struct RouterCase {
  const char *name;
  uint32_t tokens, experts, hidden, planes;
  bool extraRow, bias;
};

struct RouterProblem {
  RouterCase test;
  std::vector<uint16_t> hidden, planes, extraPlanes;
  std::vector<float> bias;
  std::vector<double> expected; // [T, columns]

  uint32_t columns() const { return test.experts + test.extraRow; }
};

inline RouterProblem makeRouterProblem(const RouterCase &test, Element element) {
  const bool bf16 = element == Element::BF16;
  const uint32_t H = test.hidden, E = test.experts;
  std::mt19937_64 random(test.tokens * 31 + H);
  RouterProblem p{.test = test};
  p.hidden = bench::drawElements(size_t{test.tokens} * H, 1, bf16, random);
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(H)));
  std::vector<float> weight(size_t{E} * H), extra(H);
  p.bias.resize(E);
  for (std::vector<float> *values : {&weight, &extra, &p.bias})
    for (float &value : *values)
      value = normal(random);
  p.planes = bench::splitIntoPlanes(weight, test.planes, bf16);
  p.extraPlanes = bench::splitIntoPlanes(extra, test.planes, bf16);
  const auto valueOf = [&](const std::vector<uint16_t> &from, size_t index) {
    double sum = 0;
    for (uint32_t plane = 0; plane < test.planes; ++plane)
      sum += bench::elementValue(from[plane * (from.size() / test.planes) + index], bf16);
    return sum;
  };
  for (uint32_t t = 0; t < test.tokens; ++t)
    for (uint32_t e = 0; e < p.columns(); ++e) {
      double sum = e < E && test.bias ? p.bias[e] : 0;
      for (uint32_t h = 0; h < H; ++h)
        sum += double{bench::elementValue(p.hidden[size_t{t} * H + h], bf16)} *
               (e < E ? valueOf(p.planes, size_t{e} * H + h) : valueOf(p.extraPlanes, h));
      p.expected.push_back(sum);
    }
  return p;
}

template <RouterGemmConfig C> void routerKernel(const RouterGemmArgs &args) {
  if constexpr (C.wgmma)
    routerLogitsSm90<C>(args);
  else
    routerLogits<C>(args);
}

/// Empty, or what is wrong. `logits`: gets them, [T, columns], if not null.
template <RouterGemmConfig C>
std::string runRouter(const RouterProblem &p, uint64_t seed, uint32_t blocks, std::vector<float> *logits = nullptr) {
  const RouterCase &test = p.test;
  const uint32_t columns = p.columns(), stride = columns + 2;
  DeviceMemory device;
  RouterGemmArgs args{.hidden = device.input(p.hidden),
                      .weight = device.constant(p.planes),
                      .extraRow = test.extraRow ? device.constant(p.extraPlanes) : nullptr,
                      .bias = test.bias ? device.constant(p.bias) : nullptr,
                      .logits = device.output<float>(size_t{test.tokens} * stride),
                      .numTokens = test.tokens,
                      .numExperts = test.experts,
                      .hiddenSize = test.hidden,
                      .planes = test.planes,
                      .logitStride = stride};
  const LaunchShape shape{.blocks = blocks,
                          .threads = routerThreads(C),
                          .sharedBytes = routerSharedBytes(C),
                          .dynamicShared = routerSharedBytes(C) > 0 ? unaligned : nullptr};
  if (const auto failure = launch(device, shape, seed, [&] { routerKernel<C>(args); }))
    return failure->message;
  std::vector<float> got;
  for (uint32_t t = 0; t < test.tokens; ++t)
    for (uint32_t e = 0; e < columns; ++e) {
      const double want = p.expected[got.size()];
      got.push_back(args.logits[size_t{t} * stride + e]);
      if (!(std::abs(got.back() - want) <= 1e-5))
        return fmt::format("token {} column {}: {}, expected {}", t, e, got.back(), want);
    }
  if (logits)
    *logits = std::move(got);
  return "";
}

} // namespace moec::emulation
