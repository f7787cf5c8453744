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

/// A shared output of every token, with or without its gate, and experts' outputs of some pairs.
template <CombineConfig C> void check(uint32_t tokens, uint32_t hidden, bool gated) {
  constexpr bool bf16 = C.element == Element::BF16;
  constexpr uint32_t gateStride = 9;
  std::mt19937_64 random(tokens * 31 + hidden);
  std::vector<int32_t> ids = bench::drawIds(tokens, 8, C.topK, 0.5, random);
  for (size_t i = 0; i < ids.size(); i += 3)
    ids[i] = -1;
  const bench::ReferenceSlots slots = bench::referenceSlots(ids, 8);
  const std::vector<float> weights = bench::drawWeights(tokens, C.topK, random);
  const std::vector<uint16_t> rows = bench::drawElements(slots.slotPair.size() * hidden, 1, bf16, random);
  const std::vector<uint16_t> shared = bench::drawElements(size_t{tokens} * hidden, 1, bf16, random);
  std::vector<float> gate(size_t{tokens} * gateStride, NAN);
  for (uint32_t t = 0; t < tokens; ++t)
    gate[t * gateStride] = t == 0 ? -200.0f : t == 1 ? 200.0f : static_cast<float>(t % 7) - 3.0f; // 0 and 1 overflow
  forSchedules(kSchedules, [&](uint64_t seed) -> std::string {
    DeviceMemory device;
    CombineArgs args{.expertOutput = device.input(rows),
                     .slotOfPair = device.constant(slots.slotOfPair),
                     .weights = device.input(weights),
                     .shared = device.input(shared),
                     .sharedGate = gated ? device.input(gate) : nullptr,
                     .output = device.output<uint16_t>(size_t{tokens} * hidden),
                     .numTokens = tokens,
                     .hidden = hidden,
                     .gateStride = gateStride};
    const uint32_t blocks = combineBlocks(C, tokens, hidden);
    if (const auto failure = launch(device, {.blocks = blocks, .threads = C.threads}, seed, [&] { combine<C>(args); }))
      return failure->message;
    for (uint32_t t = 0; t < tokens; ++t)
      for (uint32_t h = 0; h < hidden; ++h) {
        const double factor = gated ? 1 / (1 + std::exp(-double{gate[t * gateStride]})) : 1;
        double expected = factor * bench::elementValue(shared[size_t{t} * hidden + h], bf16);
        double magnitude = std::abs(expected);
        for (uint32_t k = 0; k < C.topK; ++k)
          if (const int32_t slot = slots.slotOfPair[t * C.topK + k]; slot >= 0) {
            const double term =
                double{weights[t * C.topK + k]} * bench::elementValue(rows[size_t(slot) * hidden + h], bf16);
            expected += term;
            magnitude += std::abs(term);
          }
        const float got = bench::elementValue(static_cast<const uint16_t *>(args.output)[size_t{t} * hidden + h], bf16);
        if (!(std::abs(got - expected) <=
              std::abs(expected) * (bf16 ? 1.0 / 256 : 1.0 / 2048) + magnitude * 1e-6 + 1e-7))
          return fmt::format("token {} column {}: {}, expected {}", t, h, got, expected);
      }
    return "";
  });
}

} // namespace

TEST_CASE("combine adds the shared output, scaled by its gate", "[emulation][combine]") {
  check<CombineConfig{.element = Element::BF16, .topK = 4, .threads = 64}>(13, 72, true);
  check<CombineConfig{.element = Element::F16, .topK = 2, .threads = 128}>(13, 136, true);
  check<CombineConfig{.element = Element::BF16, .topK = 8, .threads = 64}>(3, 64, false);
}
