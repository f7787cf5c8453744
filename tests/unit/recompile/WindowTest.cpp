#include "runtime/monitor/Window.h"
#include "runtime/recompile/History.h"

#include "tests/unit/Catch.h"

#include <numeric>

using namespace moec;

namespace {

LayerObservation stepOf(uint32_t tokens, std::span<const uint32_t> pairs, uint64_t ns = 0) {
  return {.layer = 0, .tokens = tokens, .pairs = pairs, .layerNs = ns};
}

Window windowOf(std::vector<uint32_t> pairs, uint32_t tokens = 64, uint32_t steps = 1) {
  Window window;
  window.bucket = sizeBucket(tokens);
  window.steps = steps;
  window.tokens = tokens * steps;
  for (uint32_t count : pairs)
    window.pairs.push_back(count * steps);
  window.specimens = {{tokens, pairs}};
  window.peak = std::move(pairs);
  return window;
}

} // namespace

TEST_CASE("the typical step keeps the mean number of pairs", "[recompile][window]") {
  // 4 steps of one token with K = 2: 8 pairs, so 2 in a typical step, for the two experts hit most.
  Window window = windowOf({0, 0, 0, 0}, 1, 4);
  window.pairs = {3, 1, 3, 1};
  CHECK(typicalStep(window) == Histogram{1, {1, 0, 1, 0}});
  // 10 / 4 = 2.5 rounds to 3 in all: 7/4 = 1 and 3/4 left over, 2/4 = 0 and 2/4, 1/4 = 0 and 1/4.
  window.pairs = {7, 2, 1, 0};
  CHECK(typicalStep(window) == Histogram{1, {2, 1, 0, 0}});
}

TEST_CASE("small and large steps never share a window", "[recompile][window]") {
  WindowBuilder builder(2, 1'000'000);
  const uint32_t decode[] = {1, 1}, prefill[] = {100, 156};
  builder.add(stepOf(2, decode, 10), 0);
  builder.add(stepOf(256, prefill, 900), 0);
  CHECK(builder.take(0).empty());
  builder.add(stepOf(256, prefill, 1000), 0);
  builder.add(stepOf(2, decode, 30), 0);

  std::vector<Window> windows = builder.take(0);
  REQUIRE(windows.size() == 2);
  CHECK(windows[0].bucket == 256);
  CHECK(windows[0].pairs == std::vector<uint32_t>{200, 312});
  CHECK(windows[0].peak == std::vector<uint32_t>{100, 156});
  CHECK(windows[0].specimens == std::vector<Histogram>(2, {256, {100, 156}}));
  CHECK(windows[1].bucket == 2);
  CHECK(windows[1].medianNs == 30); // the upper one of two
}

TEST_CASE("a window that does not fill closes by age", "[recompile][window]") {
  WindowBuilder builder(32, 1000);
  const uint32_t pairs[] = {4, 4};
  builder.add(stepOf(4, pairs), 500);
  CHECK(builder.take(1499).empty());
  std::vector<Window> windows = builder.take(1500);
  REQUIRE(windows.size() == 1);
  CHECK(windows[0].steps == 1);
  CHECK(builder.take(9999).empty());
}

TEST_CASE("two samples of one distribution lie within twice the sampling noise", "[recompile][window]") {
  // 64 experts, 2 samples of 2048 pairs: expected variation sqrt(64 / 2pi * 2/2048) = 0.0997.
  CHECK(samplingNoise(2048, 2048, 64) == Approx(0.0997).margin(0.0001));
  CHECK(samplingNoise(0, 2048, 64) == 1);
}

TEST_CASE("after a move, routing now is the stretch since the move", "[recompile][window]") {
  History history(0.05);
  const double live[] = {1};
  for (int i = 0; i < 6; ++i)
    history.add(windowOf({4000, 100, 0}, 4096), live);
  history.add(windowOf({100, 4000, 0}, 4096), live);
  history.add(windowOf({100, 4000, 0}, 4096), live);
  std::vector<BucketMix> mix = history.recent();
  REQUIRE(mix.size() == 1);
  CHECK(mix[0].typical.pairs == std::vector<uint32_t>{100, 4000, 0});
  CHECK(mix[0].steps == 2);
  CHECK(mix[0].specimens.size() == 2);
  CHECK(mix[0].weight == Approx(1));
}

TEST_CASE("regret is counted from the moment that serves the candidate best", "[recompile][window]") {
  History history(0.05);
  // The live plan takes 10 a step; the candidate 8 for hot expert 0, and 13 for hot expert 1.
  auto candidate = [](const Histogram &histogram) { return histogram.pairs[0] > histogram.pairs[1] ? 8.0 : 13.0; };
  const double live[] = {10};
  Window forIt = windowOf({60, 4}), against = windowOf({4, 60});
  history.add(forIt, live);
  history.add(forIt, live);
  CHECK(history.regretNs(candidate) == 4);
  history.add(against, live);
  CHECK(history.regretNs(candidate) == 1); // 2 + 2 - 3
  history.add(against, live);
  CHECK(history.regretNs(candidate) == 0); // never below nothing
  history.add(forIt, live);
  CHECK(history.regretNs(candidate) == 2);
  history.changed();
  CHECK(history.regretNs(candidate) == 0);
}

TEST_CASE("a full history merges like neighbours and keeps the regret of all steps", "[recompile][window]") {
  History history(0.05, 24);
  const double live[] = {10};
  for (int i = 0; i < 200; ++i)
    history.add(windowOf({60, 4}, 64, 10), live);
  // 2000 steps, each 2 cheaper.
  CHECK(history.regretNs([](const Histogram &) { return 8.0; }) == Approx(4000));
}

TEST_CASE("specimens are spread over the window, and a short window has one", "[recompile][window]") {
  WindowBuilder builder(8, 1000);
  for (uint32_t step = 0; step < 8; ++step) {
    const uint32_t pairs[] = {step, 8};
    builder.add(stepOf(8, pairs), 0);
  }
  std::vector<Window> windows = builder.take(0);
  REQUIRE(windows.size() == 1);
  REQUIRE(windows[0].specimens.size() == 4);
  for (uint32_t i = 0; i < 4; ++i)
    CHECK(windows[0].specimens[i].pairs[0] == 2 * i);

  const uint32_t pairs[] = {3, 8};
  builder.add(stepOf(8, pairs), 0);
  windows = builder.take(1000);
  REQUIRE(windows.size() == 1);
  CHECK(windows[0].specimens == std::vector<Histogram>{{8, {3, 8}}});
}
