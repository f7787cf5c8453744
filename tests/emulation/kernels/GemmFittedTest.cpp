#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmFitted.cuh"
#include "tests/emulation/kernels/GemmFixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr uint32_t kFewSchedules = 10; // where the order of accesses is not what is tested

constexpr GemmConfig config(Element element, GemmRole role, uint32_t tokens, uint32_t weights, uint32_t tileK,
                            uint32_t stages, uint32_t groups, uint32_t blocksPerSm) {
  return {.element = element, .role = role, .tileTokens = tokens, .tileWeights = weights, .tileK = tileK,
          .stages = stages, .warpsTokens = groups, .warpsWeights = 1, .swapAB = true, .blocksPerSm = blocksPerSm,
          .dense = false};
}

TensorMap rowMap(const void *from, uint32_t k, uint32_t rows, uint32_t boxRows) {
  return tensorMap<TensorMap>(rowTensor(Element::BF16, addressOf(from), k, rows, boxRows));
}

TensorMap interleavedMap(const GroupedGemmArgs &args, uint32_t groups) {
  return tensorMap<TensorMap>(interleavedTensor(Element::BF16, addressOf(args.weights), addressOf(args.upWeights), args.k, args.n,
                                                args.numExperts, static_cast<uint64_t>(args.expertStride), groups));
}

/// Down looks its first tile up while the kernel before it runs: the tables are of an earlier launch.
void settleTables(DeviceMemory &device, GroupedGemmArgs &args) {
  const auto settle = [&](const int32_t *&table, size_t count) {
    if (table)
      table = device.constant(DeviceMemory::values(table, count));
  };
  const auto tiles = static_cast<size_t>(args.tileBegin[args.numExperts]);
  settle(args.tilePlace, tiles);
  settle(args.tileBegin, args.numExperts + 1);
  settle(args.expertOrder, args.numExperts);
  settle(args.expertBegin, args.numExperts + 1);
  args.expertEnd = args.expertBegin + 1;
}

template <GemmConfig C> std::string runFitted(const GemmProblem &p, uint64_t seed, uint32_t blocks) {
  constexpr bool gated = C.role == GemmRole::GateUp;
  DeviceMemory device;
  GroupedGemmArgs args = gemmArgs(device, p, C.tileTokens);
  args.tileCounter = device.output(std::vector<uint32_t>{0});
  if (!gated)
    settleTables(device, args);
  const uint32_t rows = std::max<uint32_t>(1, static_cast<uint32_t>(p.slots.slotPair.size()));
  const TensorMap weights =
      gated ? interleavedMap(args, boxGroups(C))
            : weightMap<TensorMap>(args.weights, args.k, args.n, args.numExperts,
                                   static_cast<uint64_t>(args.expertStride), boxRows(C));
  const TensorMap output = rowMap(args.output, args.n, rows, kOutputBoxRows);
  const TensorMap tokens = gated ? output : rowMap(args.tokens, args.k, rows, tokenBoxRows(C));
  const LaunchShape shape{
      .blocks = blocks, .threads = hopperThreads(C), .sharedBytes = hopperSharedBytes(C), .dynamicShared = unaligned,
                          .unwrittenRows = true};
  using Activation = std::conditional_t<gated, SiluGate, NoActivation>;
  const auto failure =
      launch(device, shape, seed, [&] { groupedGemmFitted<C, Activation>(weights, tokens, output, args); });
  if (failure)
    return failure->message;
  return *args.tileCounter ? "the tile counter is not left as zero" : compare(p, args.output);
}

template <GemmConfig C> void check() {
  for (GemmCase test : gemmCases()) {
    INFO(test.name);
    test.fused = true; // as two tensors, up would have to lie behind gate, which allocations do not promise
    const GemmProblem problem = makeProblem(test, C.role, C.element, C.biased);
    forSchedules(C.biased ? kBiasedSchedules : kSchedules, [&](uint64_t seed) { return runFitted<C>(problem, seed, 3); });
  }
}

} // namespace

TEST_CASE("the fitted gate-up product multiplies as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<config(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2)>();
  check<config(Element::F16, GemmRole::GateUp, 32, 128, 64, 3, 2, 1)>(); // trades registers, panels leave by boxes
}

TEST_CASE("the fitted down product multiplies as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<config(Element::BF16, GemmRole::Down, 16, 64, 128, 3, 1, 2)>();
  check<config(Element::F16, GemmRole::Down, 96, 256, 64, 4, 2, 1)>(); // outputs in two stages; a group without weights
}

TEST_CASE("an expert with more token tiles than go together gets each of them once", "[emulation][gemm]") {
  // 137 rows: nine tiles of 16 rows in parts of five and four, each with five (gate-up) or three (down) tiles of weights.
  const GemmCase test{"many rows for one expert", 137, 64, 136, 4, 1, GemmCase::OneExpert, true, false};
  const auto run = [&]<GemmConfig C>() {
    const GemmProblem problem = makeProblem(test, C.role, C.element, C.biased);
    forSchedules(kFewSchedules, [&](uint64_t seed) { return runFitted<C>(problem, seed, 3); });
  };
  run.template operator()<config(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2)>();
  run.template operator()<config(Element::BF16, GemmRole::Down, 16, 64, 128, 3, 1, 2)>();
}

TEST_CASE("the fitted GEMMs add biases before anything else", "[emulation][gemm]") {
  check<withBiases(config(Element::BF16, GemmRole::GateUp, 32, 256, 64, 3, 2, 1))>(); // two blocks of weight rows each
  check<withBiases(config(Element::F16, GemmRole::Down, 32, 256, 64, 4, 2, 1))>();
}
