#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/routerLogits.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/machine/DynamicShared.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>
#include <random>

using namespace moec;
using namespace moec::emulation;

namespace {

struct RouterCase {
  const char *name;
  uint32_t tokens, experts, hidden, planes;
  bool extraRow, bias;
};

// 8-element ends of a sum, odd numbers of experts, a gate alone (its weight is then the matrix).
constexpr RouterCase cases[] = {
    {"one token", 1, 7, 264, 1, false, true},      {"odd sizes", 19, 33, 72, 1, true, true},
    {"f32 weight", 17, 9, 1032, 3, true, false},   {"one row", 70, 1, 40, 1, false, false},
    {"several tiles", 67, 65, 320, 1, true, true}, {"short sum", 14, 5, 8, 1, false, false},
};

constexpr RouterCase largeCase = {"several large tiles", 131, 130, 136, 1, true, true};

template <RouterGemmConfig C> std::vector<float> check(const RouterCase &test, uint32_t blocks) {
  constexpr bool bf16 = C.element == Element::BF16;
  std::mt19937_64 random(test.tokens * 31 + test.hidden);
  const uint32_t H = test.hidden, E = test.experts, columns = E + test.extraRow, stride = columns + 2;
  const std::vector<uint16_t> hidden = bench::drawElements(size_t{test.tokens} * H, 1, bf16, random);
  std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(H)));
  std::vector<float> weight(size_t{E} * H), extra(H), bias(E);
  for (std::vector<float> *values : {&weight, &extra, &bias})
    for (float &value : *values)
      value = normal(random);
  const std::vector<uint16_t> planes = bench::splitIntoPlanes(weight, test.planes, bf16);
  const std::vector<uint16_t> extraPlanes = bench::splitIntoPlanes(extra, test.planes, bf16);
  const auto valueOf = [&](const std::vector<uint16_t> &from, size_t index) {
    double sum = 0;
    for (uint32_t plane = 0; plane < test.planes; ++plane)
      sum += bench::elementValue(from[plane * (from.size() / test.planes) + index], bf16);
    return sum;
  };
  std::vector<double> expected; // [T, columns]
  for (uint32_t t = 0; t < test.tokens; ++t)
    for (uint32_t e = 0; e < columns; ++e) {
      double sum = e < E && test.bias ? bias[e] : 0;
      for (uint32_t h = 0; h < H; ++h)
        sum += double{bench::elementValue(hidden[size_t{t} * H + h], bf16)} *
               (e < E ? valueOf(planes, size_t{e} * H + h) : valueOf(extraPlanes, h));
      expected.push_back(sum);
    }
  std::vector<float> logits;
  forSchedules(kSchedules, [&](uint64_t seed) -> std::string {
    DeviceMemory device;
    RouterGemmArgs args{.hidden = device.input(hidden),
                        .weight = device.constant(planes),
                        .extraRow = test.extraRow ? device.constant(extraPlanes) : nullptr,
                        .bias = test.bias ? device.constant(bias) : nullptr,
                        .logits = device.output<float>(size_t{test.tokens} * stride),
                        .numTokens = test.tokens,
                        .numExperts = E,
                        .hiddenSize = H,
                        .planes = test.planes,
                        .logitStride = stride};
    if (const auto failure = launch(device,
                                    {.blocks = blocks,
                                     .threads = routerThreads(),
                                     .sharedBytes = routerSharedBytes(C),
                                     .dynamicShared = isStaged(C) ? unaligned : nullptr},
                                    seed, [&] { routerLogits<C>(args); }))
      return failure->message;
    logits.clear();
    for (uint32_t t = 0; t < test.tokens; ++t)
      for (uint32_t e = 0; e < columns; ++e) {
        const double want = expected[logits.size()];
        logits.push_back(args.logits[size_t{t} * stride + e]);
        if (!(std::abs(logits.back() - want) <= 1e-5))
          return fmt::format("token {} column {}: {}, expected {}", t, e, logits.back(), want);
      }
    return "";
  });
  return logits;
}

} // namespace

TEST_CASE("logits are the router's product, with the same bits from every tile", "[emulation][router]") {
  for (const RouterCase &test : cases) {
    INFO(test.name);
    const std::vector<float> first = check<RouterGemmConfig{Element::BF16, 16, 2}>(test, 3);
    CHECK(check<RouterGemmConfig{Element::BF16, 16, 8}>(test, 2) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 32, 32}>(test, 1) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 64, 64}>(test, 2) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 128, 128}>(test, 2) == first);
  }
  CHECK(check<RouterGemmConfig{Element::BF16, 128, 128}>(largeCase, 2) ==
        check<RouterGemmConfig{Element::BF16, 64, 64}>(largeCase, 3));
  check<RouterGemmConfig{Element::F16, 16, 8}>(cases[1], 4);
  check<RouterGemmConfig{Element::F16, 64, 64}>(cases[4], 2);
  check<RouterGemmConfig{Element::F16, 128, 128}>(cases[4], 1);
}
