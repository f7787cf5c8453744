#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmPortable.cuh"
#include "compiler/kernels/groupedGemmSm90.cuh"
#include "tests/emulation/kernels/GemmFixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr GemmConfig config(Element element, GemmRole role, uint32_t tokens, uint32_t weights, uint32_t warpsTokens,
                            uint32_t warpsWeights, bool swapAB) {
  return {.element = element,
          .role = role,
          .tileTokens = tokens,
          .tileWeights = weights,
          .tileK = 64,
          .stages = 3,
          .warpsTokens = warpsTokens,
          .warpsWeights = warpsWeights,
          .swapAB = swapAB,
          .blocksPerSm = 1,
          .dense = true};
}

/// One expert that has every token: what a dense product computes without being told so by tables.
GemmProblem denseProblem(uint32_t tokens, uint32_t k, uint32_t n, const GemmConfig &c) {
  return makeProblem({"dense", tokens, k, n, 1, 1, GemmCase::Drawn, false, false}, c.role, c.element);
}

GroupedGemmArgs denseArgs(DeviceMemory &device, const GemmProblem &p) {
  GroupedGemmArgs args = gemmArgs(device, p, 16);
  args.slotPair = nullptr;
  args.tileHead = nullptr;
  args.tiles = nullptr;
  args.numRows = p.test.tokens;
  return args;
}

template <GemmConfig C, bool Portable> std::string run(const GemmProblem &p, uint64_t seed) {
  DeviceMemory device;
  const GroupedGemmArgs args = denseArgs(device, p);
  std::optional<Failure> failure;
  if constexpr (Portable) {
    const LaunchShape shape{.blocks = 3,
                            .threads = portableThreads(C),
                            .sharedBytes = portableSharedBytes(C),
                            .dynamicShared = stages,
                            .sharedAlignment = 128};
    failure = launch(device, shape, seed, [&] { groupedGemmPortable<C, ActivationOf<C>>(args); });
  } else {
    const auto map = [&](const void *weights) {
      return weightMap<TensorMap>(weights, args.k, args.n, 1, static_cast<uint64_t>(args.expertStride), boxRows(C));
    };
    const TensorMap gate = map(args.weights), up = map(C.role == GemmRole::GateUp ? args.upWeights : args.weights);
    const LaunchShape shape{
        .blocks = 3, .threads = hopperThreads(C), .sharedBytes = hopperSharedBytes(C), .dynamicShared = unaligned};
    failure = launch(device, shape, seed, [&] { groupedGemmSm90<C, ActivationOf<C>>(gate, up, args); });
  }
  return failure ? failure->message : compare(p, args.output);
}

template <GemmConfig C, bool Portable> void check() {
  for (const auto &[tokens, k, n] : {std::array<uint32_t, 3>{1, 72, 40}, {37, 136, 200}, {70, 264, 136}}) {
    INFO(tokens << " tokens");
    const GemmProblem problem = denseProblem(tokens, k, n, C);
    forSchedules(kSchedules, [&](uint64_t seed) { return run<C, Portable>(problem, seed); });
  }
}

} // namespace

TEST_CASE("a dense product needs no tables, in either family", "[emulation][gemm]") {
  check<config(Element::BF16, GemmRole::GateUp, 16, 64, 1, 2, false), true>();
  check<config(Element::F16, GemmRole::Down, 64, 64, 2, 2, false), true>();
  check<config(Element::BF16, GemmRole::GateUp, 16, 128, 1, 1, true), false>();
  check<config(Element::F16, GemmRole::Down, 128, 128, 2, 1, false), false>();
}
