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

TEST_CASE("a joined expert has a row for every token before all pairs, whatever the form and the schedule",
          "[emulation][dispatch]") {
  check<joined(few)>(DispatchForm::OneBlock);
  check<joined(many)>(DispatchForm::ThreeLaunches);
  check<joined(many)>(DispatchForm::Grid);
  check<joined({.experts = 31, .threads = 96, .pairsPerBlock = 64})>(DispatchForm::Grid); // 32 with the joined one
}
