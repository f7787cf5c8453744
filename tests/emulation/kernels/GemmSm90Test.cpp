#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmSm90.cuh"
#include "tests/emulation/kernels/GemmSm90Fixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr GemmConfig config(Element element, GemmRole role, uint32_t tokens, uint32_t weights, uint32_t stages,
                            uint32_t groups, bool swapAB, uint32_t blocksPerSm) {
  return {.element = element,
          .role = role,
          .tileTokens = tokens,
          .tileWeights = weights,
          .tileK = 64,
          .stages = stages,
          .warpsTokens = groups,
          .warpsWeights = 1,
          .swapAB = swapAB,
          .blocksPerSm = blocksPerSm,
          .dense = false};
}

template <GemmConfig C> void check() {
  for (const GemmCase &test : C.biased ? biasedCases() : gemmCases()) {
    INFO(test.name);
    const GemmProblem problem = makeProblem(test, C);
    forSchedules(kSchedules, [&](uint64_t seed) { return runSm90<C>(problem, seed); });
  }
}

} // namespace

TEST_CASE("the swapped Hopper GEMM multiplies as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<config(Element::BF16, GemmRole::GateUp, 8, 128, 2, 1, true, 1)>();
  check<config(Element::F16, GemmRole::GateUp, 32, 256, 3, 2, true, 1)>(); // trades registers
  check<config(Element::BF16, GemmRole::Down, 16, 64, 4, 1, true, 2)>();
  check<config(Element::F16, GemmRole::Down, 64, 128, 2, 1, true, 1)>();
}

TEST_CASE("the plain Hopper GEMM multiplies as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<config(Element::BF16, GemmRole::GateUp, 64, 64, 3, 1, false, 2)>();
  check<config(Element::F16, GemmRole::GateUp, 128, 64, 2, 2, false, 1)>(); // trades registers; a group without rows
  check<config(Element::BF16, GemmRole::Down, 128, 128, 2, 2, false, 1)>();
}

TEST_CASE("the Hopper GEMMs add biases before anything else", "[emulation][gemm]") {
  check<withBiases(config(Element::BF16, GemmRole::GateUp, 16, 256, 2, 1, true, 1))>(); // several blocks of weight rows
  check<withBiases(config(Element::F16, GemmRole::Down, 16, 128, 3, 2, true, 1))>();
  check<withBiases(config(Element::BF16, GemmRole::GateUp, 64, 128, 3, 1, false, 1))>();
  check<withBiases(config(Element::F16, GemmRole::Down, 128, 64, 2, 2, false, 1))>();
}

TEST_CASE("the Hopper gate-up products weigh their rows before anything else", "[emulation][gemm]") {
  check<withWeights(config(Element::BF16, GemmRole::GateUp, 8, 128, 2, 1, true, 1))>();
  check<withWeights(withBiases(
      config(Element::F16, GemmRole::GateUp, 48, 256, 2, 2, true, 1)))>(); // a warp's load serves 32 rows, then 16
  check<withWeights(config(Element::F16, GemmRole::GateUp, 128, 64, 2, 2, false, 1))>();
  check<withWeights(withBiases(config(Element::BF16, GemmRole::GateUp, 64, 128, 3, 1, false, 1)))>();
}
