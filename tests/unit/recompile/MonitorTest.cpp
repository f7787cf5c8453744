#include "runtime/monitor/Monitor.h"

#include "tests/unit/Catch.h"

#include <atomic>
#include <chrono>
#include <thread>

using namespace moec;

namespace {

constexpr Monitor::LayerSpec twoLayers[] = {{.layer = 3, .experts = 4}, {.layer = 5, .experts = 2}};

LayerObservation sampleOf(uint32_t layer, std::span<const uint32_t> pairs, uint64_t ns = 0) {
  return {.layer = layer, .tokens = 1, .pairs = pairs, .layerNs = ns};
}

} // namespace

TEST_CASE("what steps observe comes out in order and unchanged", "[recompile][monitor]") {
  Monitor monitor(twoLayers);
  const uint32_t first[] = {1, 2, 3, 4}, second[] = {5, 6, 7, 8}, other[] = {9, 9};
  monitor.observe({.layer = 3,
                   .tokens = 10,
                   .phase = Phase::Prefill,
                   .pairs = first,
                   .layerNs = 100,
                   .spilledPairs = 6,
                   .generation = 2});
  monitor.observe(sampleOf(5, other));
  monitor.observe(sampleOf(3, second, 200));

  std::vector<std::vector<uint32_t>> seen;
  CHECK(monitor.drain([&](const LayerObservation &sample) {
    if (seen.empty()) {
      CHECK(sample.layer == 3);
      CHECK(sample.tokens == 10);
      CHECK(sample.phase == Phase::Prefill);
      CHECK(sample.layerNs == 100);
      CHECK(sample.spilledPairs == 6);
      CHECK(sample.generation == 2);
    }
    seen.emplace_back(sample.pairs.begin(), sample.pairs.end());
  }) == 3);
  CHECK(seen == std::vector<std::vector<uint32_t>>{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 9}});
  CHECK(monitor.drain([](const LayerObservation &) { FAIL("drained twice"); }) == 0);
}

TEST_CASE("a full ring skips and counts, and takes samples again once it is drained", "[recompile][monitor]") {
  Monitor monitor(twoLayers, 4);
  const uint32_t pairs[] = {1, 0, 0, 0};
  for (int step = 0; step < 7; ++step)
    monitor.observe(sampleOf(3, pairs));
  CHECK(monitor.skipped() == 3);
  CHECK(monitor.drain([](const LayerObservation &) {}) == 4);
  monitor.observe(sampleOf(3, pairs));
  CHECK(monitor.drain([](const LayerObservation &) {}) == 1);
}

TEST_CASE("a sample of an unknown layer or of another size is skipped, not read", "[recompile][monitor]") {
  Monitor monitor(twoLayers);
  const uint32_t pairs[] = {1, 2};
  monitor.observe(sampleOf(3, pairs)); // layer 3 has four experts
  monitor.observe(sampleOf(4, pairs));
  monitor.observe(sampleOf(400, pairs));
  CHECK(monitor.skipped() == 3);
  CHECK(monitor.drain([](const LayerObservation &) {}) == 0);
}

TEST_CASE("under four step threads each sample arrives whole or is counted as skipped", "[recompile][monitor]") {
  constexpr uint32_t numThreads = 4, perThread = 20'000;
  const Monitor::LayerSpec layers[] = {{.layer = 0, .experts = 64}};
  Monitor monitor(layers, 16);
  std::atomic<uint32_t> running{numThreads};
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < numThreads; ++thread)
    threads.emplace_back([&, thread] {
      std::vector<uint32_t> pairs(64);
      for (uint32_t step = 0; step < perThread; ++step) {
        std::fill(pairs.begin(), pairs.end(), thread * perThread + step);
        monitor.observe(sampleOf(0, pairs));
      }
      --running;
    });
  uint64_t drained = 0, torn = 0;
  auto take = [&](const LayerObservation &sample) {
    ++drained;
    for (uint32_t pairs : sample.pairs)
      torn += pairs != sample.pairs[0];
  };
  while (running)
    monitor.drain(take);
  for (std::thread &thread : threads)
    thread.join();
  monitor.drain(take);
  CHECK(torn == 0);
  CHECK(drained + monitor.skipped() == uint64_t{numThreads} * perThread);
}

TEST_CASE("buckets are powers of two, and none is zero", "[recompile][monitor]") {
  CHECK(sizeBucket(0) == 1);
  CHECK(sizeBucket(1) == 1);
  CHECK(sizeBucket(33) == 64);
  CHECK(sizeBucket(64) == 64);
  CHECK(sizeBucket(UINT32_MAX) == 1u << 31);
}

TEST_CASE("cost of one observation", "[.][benchmark]") {
  for (uint32_t experts : {64u, 128u, 256u}) {
    const Monitor::LayerSpec layers[] = {{.layer = 0, .experts = experts}};
    Monitor monitor(layers, 64);
    std::vector<uint32_t> pairs(experts, 3);
    constexpr int rounds = 20'000, perRound = 64;
    std::chrono::nanoseconds spent{0};
    for (int round = 0; round < rounds; ++round) {
      auto start = std::chrono::steady_clock::now();
      for (int step = 0; step < perRound; ++step)
        monitor.observe(sampleOf(0, pairs));
      spent += std::chrono::steady_clock::now() - start;
      monitor.drain([](const LayerObservation &) {});
    }
    REQUIRE(monitor.skipped() == 0);
    WARN("observe, " << experts << " experts: " << static_cast<double>(spent.count()) / (double{rounds} * perRound)
                     << " ns");
  }
}
