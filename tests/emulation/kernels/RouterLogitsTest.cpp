#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/routerLogits.cuh"
#include "compiler/kernels/routerLogitsSm90.cuh"
#include "tests/emulation/kernels/RouterFixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

// 8-element ends of a sum, odd numbers of experts, a gate alone (its weight is then the matrix).
constexpr RouterCase cases[] = {
    {"one token", 1, 7, 264, 1, false, true},      {"odd sizes", 19, 33, 72, 1, true, true},
    {"f32 weight", 17, 9, 1032, 3, true, false},   {"one row", 70, 1, 40, 1, false, false},
    {"several tiles", 67, 65, 320, 1, true, true}, {"short sum", 14, 5, 8, 1, false, false},
};

constexpr RouterCase largeCase = {"several large tiles", 131, 130, 136, 1, true, true};
// Three tiles of 128 columns, the last one with the gate alone.
constexpr RouterCase wideCase = {"a gate behind a tile", 40, 256, 648, 1, true, true};

/// The logits, under whatever schedule.
template <RouterGemmConfig C>
std::vector<float> check(const RouterCase &test, uint32_t blocks, uint32_t schedules = kSchedules) {
  INFO(test.name);
  const RouterProblem problem = makeRouterProblem(test, C.element);
  std::vector<float> logits;
  forSchedules(schedules, [&](uint64_t seed) { return runRouter<C>(problem, seed, blocks, &logits); });
  return logits;
}

constexpr uint32_t kFewSchedules = 15; // of large tiles, whose threads are many

} // namespace

TEST_CASE("logits are the router's product, with the same bits from every tile", "[emulation][router]") {
  for (const RouterCase &test : cases) {
    const std::vector<float> first = check<RouterGemmConfig{Element::BF16, 8, 2}>(test, 3);
    CHECK(check<RouterGemmConfig{Element::BF16, 16, 8}>(test, 2) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 32, 32}>(test, 1) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 64, 64}>(test, 2) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 128, 128}>(test, 2) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 64, 64, true}>(test, 2) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 128, 64, true}>(test, 1, kFewSchedules) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 128, 128, true}>(test, 2, kFewSchedules) == first);
  }
  check<RouterGemmConfig{Element::F16, 16, 8}>(cases[1], 4);
  check<RouterGemmConfig{Element::F16, 64, 64}>(cases[4], 2);
  check<RouterGemmConfig{Element::F16, 128, 128}>(cases[4], 1);
  check<RouterGemmConfig{Element::F16, 64, 64, true}>(cases[4], 2, kFewSchedules);
  check<RouterGemmConfig{Element::F16, 128, 128, true}>(cases[2], 1, kFewSchedules);
}

TEST_CASE("large tiles of the router's product give the bits of small ones, several of them too",
          "[emulation][router]") {
  for (const RouterCase &test : {largeCase, wideCase}) {
    const std::vector<float> first = check<RouterGemmConfig{Element::BF16, 64, 64}>(test, 3, 1);
    CHECK(check<RouterGemmConfig{Element::BF16, 128, 128}>(test, 2, kFewSchedules) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 128, 64, true}>(test, 3, kFewSchedules) == first);
    CHECK(check<RouterGemmConfig{Element::BF16, 128, 128, true}>(test, 2, kFewSchedules) == first);
  }
}
