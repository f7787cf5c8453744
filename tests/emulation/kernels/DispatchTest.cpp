#include "tests/emulation/machine/Cuda.h"

#include "tests/emulation/kernels/DispatchFixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr DispatchConfig few{.experts = 8, .threads = 128, .pairsPerBlock = 64},
    many{.experts = 40, .threads = 64, .pairsPerBlock = 96}; // more experts than lanes

constexpr DispatchConfig joined(DispatchConfig config) {
  config.joined = true;
  return config;
}

template <DispatchConfig C> void check(DispatchForm form) {
  bool mixed = false;
  for (const DispatchCase &test : dispatchCases(C.experts)) {
    INFO(test.name);
    mixed |= expectedTiles<C>(test, {}).head.severalTiles > 0;
    forSchedules(kSchedules, [&](uint64_t seed) { return runDispatch<C>(test, form, seed); });
  }
  CHECK(mixed);
}

} // namespace

TEST_CASE("dispatch by one block places every pair, whatever the schedule", "[emulation][dispatch]") {
  check<few>(DispatchForm::OneBlock);
}

TEST_CASE("dispatch by three launches places every pair, whatever the schedule", "[emulation][dispatch]") {
  check<many>(DispatchForm::ThreeLaunches);
}

TEST_CASE("dispatch by a cluster places every pair, whatever the schedule", "[emulation][dispatch]") {
  check<few>(DispatchForm::Cluster);
  check<{.experts = 40, .threads = 32, .pairsPerBlock = 96}>(DispatchForm::Cluster);
}

TEST_CASE("dispatch by a cluster takes as many pairs as its threads can have", "[emulation][dispatch]") {
  constexpr DispatchConfig config{.experts = 8, .threads = 32, .pairsPerBlock = 64};
  std::mt19937_64 random(3);
  const DispatchCase most{"the most", bench::drawIds(dispatchClusterPairs(config) / 2, 8, 2, 0.7, random), 2, 16,
                          false};
  REQUIRE(most.ids.size() == dispatchClusterPairs(config));
  forSchedules(kSchedules, [&](uint64_t seed) { return runDispatch<config>(most, DispatchForm::Cluster, seed); });
}

TEST_CASE("dispatch by a cluster takes pairs in several turns, the last of which is a part", "[emulation][dispatch]") {
  constexpr DispatchConfig config{.experts = 12, .threads = 64, .pairsPerBlock = 64};
  std::mt19937_64 random(5);
  DispatchCase test{"three turns", bench::drawIds(dispatchClusterPairs(config) / 4 * 3 / 2 + 5, 12, 2, 0.7, random), 2,
                    16, true};
  for (size_t i = 0; i < test.ids.size(); i += 7)
    test.ids[i] = i % 2 ? -1 : 12; // both are padding
  forSchedules(10, [&](uint64_t seed) { return runDispatch<config>(test, DispatchForm::Cluster, seed); });
  forSchedules(10, [&](uint64_t seed) { return runDispatch<joined(config)>(test, DispatchForm::Cluster, seed); });
}

TEST_CASE("a joined expert has a row for every token before all pairs, whatever the form and the schedule",
          "[emulation][dispatch]") {
  check<joined(few)>(DispatchForm::OneBlock);
  check<joined(many)>(DispatchForm::ThreeLaunches);
  check<joined(many)>(DispatchForm::Grid);
  check<joined(few)>(DispatchForm::Cluster);
  check<joined({.experts = 31, .threads = 96, .pairsPerBlock = 64})>(DispatchForm::Grid); // 32 with the joined one
}
