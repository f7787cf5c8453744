#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/quantise.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/kernels/JoinedSlots.h"
#include "tests/emulation/kernels/QuantisedRows.h"
#include "tests/emulation/machine/Elements.h"
#include "tools/bench/gpu/Fp8Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>
#include <limits>

using namespace moec;
using namespace moec::emulation;

namespace {

/// Rows with what quantising could trip over: a block of zeros, of tiny values, one with NaN and an
/// infinity, one with 448 times a power of two as its largest.
std::vector<uint16_t> drawRows(uint32_t rows, uint32_t k, std::mt19937_64 &random) {
  std::vector<uint16_t> elements = bench::drawElements(size_t{rows} * k, 3, true, random);
  const auto at = [&](uint32_t row, uint32_t column) -> uint16_t & {
    return elements[row % rows * size_t{k} + column % k];
  };
  for (uint32_t i = 0; i < 128; ++i) {
    at(0, i) = 0;
    at(1, i) = static_cast<uint16_t>(i); // denormal
  }
  at(2, 3) = 0x7fc0; // NaN
  at(2, 9) = 0xff80; // -Inf
  at(3, 5) = 0x43e0; // 448
  return elements;
}

constexpr QuantiseConfig config{.element = Element::BF16, .threads = 64},
    joinedConfig{.element = Element::BF16, .threads = 64, .joined = true};

/// Tokens go to the slots of their pairs and, where an expert is joined, to its slots before those.
template <QuantiseConfig C> void checkTokens() {
  for (const auto &[tokens, k, blocks, topK] :
       {std::tuple{9u, 272u, 2u, 2u}, {1u, 80u, 1u, 2u}, {21u, 128u, 5u, 1u}, {5u, 144u, 2u, 19u}}) {
    std::mt19937_64 random(tokens);
    std::vector<int32_t> ids = bench::drawIds(tokens, 24, topK, 0.5, random);
    for (size_t i = 1; i < ids.size(); i += 5)
      ids[i] = -1;
    bench::ReferenceSlots slots = bench::referenceSlots(ids, 24);
    if (C.joined)
      slots = joinedSlots(slots, tokens, topK);
    const std::vector<uint16_t> rows = drawRows(tokens, k, random);
    const bench::Fp8Rows expected = bench::gatherRows(bench::quantiseRows(rows, k, true), slots.slotPair, topK);
    forSchedules(kSchedules, [&](uint64_t seed) -> std::string {
      DeviceMemory device;
      const QuantiseArgs args{.rows = device.input(rows),
                              .slotOfPair = device.input(slots.slotOfPair),
                              .rowsInUse = nullptr,
                              .quantised = device.output<uint8_t>(expected.elements.size()),
                              .scales = device.output<float>(expected.scales.size()),
                              .numRows = tokens,
                              .k = k,
                              .topK = topK,
                              .scaleStride = static_cast<uint32_t>(expected.stride)};
      if (const auto failure =
              launch(device, {.blocks = blocks, .threads = C.threads}, seed, [&] { quantise<C>(args); }))
        return failure->message;
      return rowsDifference(expected, args.quantised, args.scales, expected.stride);
    });
  }
}

/// Rows that go to the slots of their own numbers.
template <QuantiseConfig C> void checkRowsInUse() {
  std::mt19937_64 random(5);
  const uint32_t used = 7, k = 144;
  std::vector<uint16_t> rows = drawRows(used, k, random);
  const bench::Fp8Rows expected = bench::quantiseRows(rows, k, true);
  forSchedules(kSchedules, [&](uint64_t seed) -> std::string {
    DeviceMemory device;
    const QuantiseArgs args{.rows = device.input(rows),
                            .slotOfPair = nullptr,
                            .rowsInUse = device.input(std::vector<int32_t>{static_cast<int32_t>(used)}),
                            .quantised = device.output<uint8_t>(expected.elements.size()),
                            .scales = device.output<float>(expected.scales.size()),
                            .numRows = used + 4,
                            .k = k,
                            .topK = 1,
                            .scaleStride = static_cast<uint32_t>(expected.stride)};
    if (const auto failure = launch(device, {.blocks = 2, .threads = C.threads}, seed, [&] { quantise<C>(args); }))
      return failure->message;
    return rowsDifference(expected, args.quantised, args.scales, expected.stride);
  });
}

} // namespace

TEST_CASE("tokens are quantised into the slots of their pairs, whatever the schedule", "[emulation][fp8]") {
  checkTokens<config>();
}

TEST_CASE("tokens are quantised into a joined expert's slots besides, whatever the schedule", "[emulation][fp8]") {
  checkTokens<joinedConfig>();
}

TEST_CASE("rows beyond those in use are left alone", "[emulation][fp8]") {
  checkRowsInUse<config>();
  checkRowsInUse<joinedConfig>();
}

TEST_CASE("the emulated e4m3 conversions are those of the reference", "[emulation][fp8]") {
  for (uint32_t bits = 0; bits < 256; ++bits) {
    const float mine = e4m3Value(static_cast<uint8_t>(bits)), theirs = bench::fp8Value(static_cast<uint8_t>(bits));
    CHECK((mine == theirs || (std::isnan(mine) && std::isnan(theirs))));
  }
  std::mt19937_64 random(1);
  std::uniform_real_distribution<float> exponent(-14, 10);
  const auto same = [](float value) { return (packE4M3(value, 0, 0, 0) & 0xff) == bench::toFp8(value); };
  for (int i = 0; i < 100000; ++i)
    REQUIRE(same(std::exp2(exponent(random)) * (i % 2 ? 1.0f : -1.0f)));
  for (int i = 0; i < 254; ++i) { // values, and what lies between two
    const float value = bench::fp8Value(static_cast<uint8_t>(i % 127)),
                next = bench::fp8Value(static_cast<uint8_t>((i + 1) % 127));
    CHECK(same(value));
    CHECK(same((value + next) / 2));
  }
  CHECK(packE4M3(std::numeric_limits<float>::quiet_NaN(), 1e9f, -1e9f, -0.0f) == 0x80fe7e7f);
}
