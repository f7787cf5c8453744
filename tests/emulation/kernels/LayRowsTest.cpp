#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/layRows.cuh"
#include "tests/emulation/Schedules.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <fmt/format.h>

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr uint16_t untouched = 0x7fff; // what rows hold before

/// Pairs get slots in compact order with `gap` rows before each expert's, as static slots have; every third pair is
/// padding. A joined expert's rows come before all.
template <LayRowsConfig C> void check(uint32_t tokens, uint32_t hidden, uint32_t blocks, int32_t gap) {
  std::mt19937_64 random(tokens * 31 + hidden);
  constexpr uint32_t experts = 8;
  std::vector<int32_t> ids = bench::drawIds(tokens, experts, C.topK, 0.5, random);
  for (size_t i = 0; i < ids.size(); i += 3)
    ids[i] = -1;
  bench::ReferenceSlots slots = bench::referenceSlots(ids, experts);
  const uint32_t joinedRows = C.joined ? tokens : 0;
  for (size_t pair = 0; pair < ids.size(); ++pair)
    if (ids[pair] >= 0)
      slots.slotOfPair[pair] += static_cast<int32_t>(joinedRows) + gap * (ids[pair] + 1);
  const size_t numRows = joinedRows + slots.slotPair.size() + static_cast<size_t>(gap) * experts;
  const std::vector<uint16_t> hiddenStates = bench::drawElements(size_t{tokens} * hidden, 1, true, random);
  std::vector<uint16_t> expected(numRows * hidden, untouched);
  std::copy_n(hiddenStates.begin(), size_t{joinedRows} * hidden, expected.begin());
  for (size_t pair = 0; pair < ids.size(); ++pair)
    if (ids[pair] >= 0)
      std::copy_n(hiddenStates.begin() + pair / C.topK * hidden, hidden,
                  expected.begin() + static_cast<size_t>(slots.slotOfPair[pair]) * hidden);

  forSchedules(kSchedules, [&](uint64_t seed) -> std::string {
    DeviceMemory device;
    uint16_t *rows = device.output(std::vector<uint16_t>(numRows * hidden, untouched));
    const LayRowsArgs args{.tokens = device.input(hiddenStates),
                           .slotOfPair = device.input(slots.slotOfPair),
                           .rows = rows,
                           .numTokens = tokens,
                           .hidden = hidden};
    if (const auto failure = launch(device, {.blocks = blocks, .threads = C.threads}, seed, [&] { layRows<C>(args); }))
      return failure->message;
    const auto wrong = std::mismatch(expected.begin(), expected.end(), rows).first - expected.begin();
    return static_cast<size_t>(wrong) == expected.size()
               ? ""
               : fmt::format("row {} column {} is wrong", wrong / hidden, wrong % hidden);
  });
}

} // namespace

TEST_CASE("laying rows out writes each token to the slots of its pairs and nothing else, whatever the schedule",
          "[emulation][rows]") {
  check<LayRowsConfig{.topK = 2, .threads = 64}>(37, 136, 3, 0);
  check<LayRowsConfig{.topK = 8, .threads = 128}>(5, 72, 1, 2);
  check<LayRowsConfig{.topK = 1, .threads = 256}>(1, 64, 2, 1); // one token, all padding; idle threads
}

TEST_CASE("laying rows out writes each token to a joined expert's slot besides, whatever the schedule",
          "[emulation][rows]") {
  check<LayRowsConfig{.topK = 2, .threads = 64, .joined = true}>(37, 136, 3, 0);
  check<LayRowsConfig{.topK = 1, .threads = 128, .joined = true}>(1, 72, 2, 0); // nothing but the joined row
}
