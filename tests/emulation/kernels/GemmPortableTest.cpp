#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmPortable.cuh"
#include "tests/emulation/kernels/GemmPortableFixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr GemmConfig config(Element element, GemmRole role, uint32_t tokens, uint32_t weights, uint32_t stages,
                            uint32_t warpsTokens, uint32_t warpsWeights) {
  return {.element = element,
          .role = role,
          .tileTokens = tokens,
          .tileWeights = weights,
          .tileK = 64,
          .stages = stages,
          .warpsTokens = warpsTokens,
          .warpsWeights = warpsWeights,
          .swapAB = false,
          .blocksPerSm = 2,
          .dense = false};
}

template <GemmConfig C> void check() {
  for (const GemmCase &test : C.biased ? biasedCases() : gemmCases()) {
    INFO(test.name);
    const GemmProblem problem = makeProblem(test, C);
    forSchedules(kSchedules, [&](uint64_t seed) { return runPortable<C>(problem, seed); });
  }
}

} // namespace

TEST_CASE("the portable grouped GEMM multiplies as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<config(Element::BF16, GemmRole::GateUp, 16, 64, 4, 1, 2)>();
  check<config(Element::F16, GemmRole::GateUp, 32, 64, 2, 2, 1)>();
  check<config(Element::BF16, GemmRole::Down, 16, 32, 3, 1, 1)>();
  check<config(Element::F16, GemmRole::Down, 64, 64, 3, 2, 2)>();
}

TEST_CASE("the portable grouped GEMM adds biases before anything else", "[emulation][gemm]") {
  check<withBiases(config(Element::BF16, GemmRole::GateUp, 32, 64, 3, 1, 2))>();
  check<withBiases(config(Element::F16, GemmRole::Down, 32, 64, 3, 2, 2))>();
}

TEST_CASE("the portable gate-up product weighs its rows before anything else", "[emulation][gemm]") {
  check<withWeights(config(Element::BF16, GemmRole::GateUp, 32, 64, 3, 2, 1))>();
  check<withWeights(withBiases(config(Element::F16, GemmRole::GateUp, 32, 64, 3, 1, 2)))>();
}
