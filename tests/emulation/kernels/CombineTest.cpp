#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "tests/emulation/Schedules.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>

using namespace moec;
using namespace moec::emulation;

namespace {

template <CombineConfig C> void check(uint32_t tokens, uint32_t hidden, uint32_t blocks) {
  constexpr bool bf16 = C.element == Element::BF16;
  std::mt19937_64 random(tokens * 31 + hidden);
  std::vector<int32_t> ids = bench::drawIds(tokens, 8, C.topK, 0.5, random);
  for (size_t i = 0; i < ids.size(); i += 3)
    ids[i] = -1;
  const bench::ReferenceSlots slots = bench::referenceSlots(ids, 8);
  const std::vector<float> weights = bench::drawWeights(tokens, C.topK, random);
  const std::vector<uint16_t> rows = bench::drawElements(slots.slotPair.size() * hidden, 1, bf16, random);

  forSchedules(kSchedules, [&](uint64_t seed) -> std::string {
    DeviceMemory device;
    CombineArgs args{.expertOutput = device.input(rows),
                     .slotOfPair = device.constant(slots.slotOfPair),
                     .weights = C.weighted ? device.input(weights) : nullptr,
                     .shared = nullptr,
                     .sharedGate = nullptr,
                     .output = device.output<uint16_t>(size_t{tokens} * hidden),
                     .numTokens = tokens,
                     .hidden = hidden,
                     .gateStride = 0};
    if (const auto failure = launch(device, {.blocks = blocks, .threads = C.threads}, seed, [&] { combine<C>(args); }))
      return failure->message;
    for (uint32_t t = 0; t < tokens; ++t)
      for (uint32_t h = 0; h < hidden; ++h) {
        double expected = 0, magnitude = 0;
        for (uint32_t k = 0; k < C.topK; ++k)
          if (const int32_t slot = slots.slotOfPair[t * C.topK + k]; slot >= 0) {
            const double term = (C.weighted ? double{weights[t * C.topK + k]} : 1) *
                                bench::elementValue(rows[size_t(slot) * hidden + h], bf16);
            expected += term;
            magnitude += std::abs(term);
          }
        const float got = bench::elementValue(static_cast<const uint16_t *>(args.output)[size_t{t} * hidden + h], bf16);
        // One rounding to the element, and sums in f32.
        if (!(std::abs(got - expected) <=
              std::abs(expected) * (bf16 ? 1.0 / 256 : 1.0 / 2048) + magnitude * 1e-6 + 1e-7))
          return fmt::format("token {} column {}: {}, expected {}", t, h, got, expected);
      }
    return "";
  });
}

} // namespace

TEST_CASE("combine sums each token's expert outputs, whatever the schedule", "[emulation][combine]") {
  check<CombineConfig{.element = Element::BF16, .topK = 2, .threads = 64}>(37, 136, 3);
  check<CombineConfig{.element = Element::F16, .topK = 8, .threads = 128}>(5, 72, 1);
  check<CombineConfig{.element = Element::BF16, .topK = 1, .threads = 256}>(1, 64, 2); // one token, idle threads
  check<CombineConfig{.element = Element::BF16, .topK = 2, .threads = 64, .weighted = false}>(37, 136, 3);
}
