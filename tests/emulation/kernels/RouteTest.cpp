#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/route.cuh"
#include "tests/emulation/kernels/RouteFixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

template <RouteConfig C> void check(uint32_t tokens) {
  INFO("experts " << C.experts << ", top " << C.topK << ", tokens " << tokens);
  forSchedules(kSchedules, [&](uint64_t seed) { return runRoute<C>(tokens, seed); });
}

constexpr RouteConfig config(uint32_t experts, uint32_t topK, RouteScoring before, RouteScoring after, bool bias,
                             bool norm, uint32_t groups, uint32_t picked, uint32_t top) {
  return {.experts = experts,
          .topK = topK,
          .before = before,
          .after = after,
          .correctionBias = bias,
          .renormalise = norm,
          .groups = groups,
          .groupsPicked = picked,
          .groupTop = top,
          .threads = 96};
}

} // namespace

TEST_CASE("routing chooses as the reference does, NaN logits included, whatever the schedule", "[emulation][route]") {
  using enum RouteScoring;
  check<config(8, 2, Softmax, None, false, true, 1, 1, 1)>(1);
  check<config(8, 2, Softmax, None, false, true, 1, 1, 1)>(23);
  check<config(40, 4, None, Softmax, false, false, 1, 1, 1)>(11); // the last place of some lanes holds no expert
  check<config(64, 6, Sigmoid, None, true, true, 8, 4, 2)>(11);   // groups
  check<config(16, 1, None, Sigmoid, false, false, 1, 1, 1)>(11);
}
