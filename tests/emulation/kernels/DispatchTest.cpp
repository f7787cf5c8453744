#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/dispatch.cuh"
#include "tests/emulation/kernels/DispatchFixture.h"

using namespace moec;
using namespace moec::emulation;

TEST_CASE("dispatch by one block places every pair, whatever the schedule", "[emulation][dispatch]") {
  constexpr DispatchConfig c{.experts = 8, .threads = 128, .pairsPerBlock = 64};
  for (const DispatchCase &test : dispatchCases(c.experts)) {
    INFO(test.name);
    forSchedules(kSchedules, [&](uint64_t seed) { return runDispatch<c>(test, false, seed); });
  }
}

TEST_CASE("dispatch by three launches places every pair, whatever the schedule", "[emulation][dispatch]") {
  constexpr DispatchConfig c{.experts = 40, .threads = 64, .pairsPerBlock = 96}; // more experts than lanes
  for (const DispatchCase &test : dispatchCases(c.experts)) {
    INFO(test.name);
    forSchedules(kSchedules, [&](uint64_t seed) { return runDispatch<c>(test, true, seed); });
  }
}
