// Down that owns a token's columns (downFew) gives the bits that down and combine give.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/core/DownFewTensor.h"
#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/downFew.cuh"
#include "compiler/kernels/groupedGemmFitted.cuh"
#include "tests/emulation/kernels/DownFewFixture.h"
#include "tests/emulation/kernels/GemmFittedFixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

TensorMap downFewMap(Element element, const void *weights, const GemmCase &test) {
  return tensorMap<TensorMap>(downFewTensor(element, addressOf(weights), test.k, test.n, test.experts));
}

LaunchShape shapeOf(const DownFewArgs &args) {
  return {.blocks = downFewBlocks(args.few.numTokens, args.n),
          .threads = kDownFewThreads,
          .sharedBytes = downFewSharedBytes(args.slots),
          .dynamicShared = unaligned};
}

/// downFew with so many slots against down and combine. `plant`: in downFew alone.
template <DownFewConfig C>
std::string compareForms(const GemmCase &test, uint32_t slots, uint64_t seed, Plant plant = {}) {
  static constexpr GemmConfig unbiased = fittedConfig(C.element, GemmRole::Down, 16, 64, 128, 3, 1, 2),
                              plain = C.biased ? withBiases(unbiased) : unbiased;
  if (test.topK != C.topK || !downIsFew(test.tokens, test.topK, test.k, test.n))
    return "no case of downFew's";
  const GemmProblem p = makeProblem(test, plain);
  DeviceMemory device;
  const float *pairWeights = device.input(pairWeightsOf(test));
  const std::vector<uint16_t> nan(size_t{test.tokens} * test.n, 0x7fff);
  uint16_t *wanted = device.output(nan), *got = device.output(nan);
  const FewPairs few{device.constant(idsOf(test)), test.tokens, C.topK, test.experts, 0, nullptr};

  GroupedGemmArgs args = gemmArgs(device, p, plain.tileTokens);
  args.tileCounters = device.output(std::vector<uint32_t>(kTileCounters));
  args.few = few;
  const uint32_t rows = mappedRows(p.slots);
  const TensorMap weights = fittedWeightMap(plain, args), output = rowMap(args.output, args.n, rows, kOutputBoxRows),
                  tokens = rowMap(args.tokens, args.k, rows, tokenBoxRows(plain));
  const LaunchShape shape{.blocks = 4,
                          .threads = hopperThreads(plain),
                          .sharedBytes = hopperSharedBytes(plain),
                          .dynamicShared = unaligned,
                          .unwrittenRows = true};
  if (const auto failure =
          launch(device, shape, seed, [&] { groupedGemmFitted<plain, NoActivation>(weights, tokens, output, args); }))
    return "plain: " + failure->message;
  if (const auto failure = combineFew<C>(device, args.output, pairWeights, wanted, test, few, seed))
    return "combine: " + failure->message;

  const TensorMap map = downFewMap(C.element, args.weights, test);
  const DownFewArgs fewArgs{
      args.tokens, got, pairWeights, args.bias, test.k, test.n, slots, few, makeRing(device, test.experts)};
  planted = plant;
  const auto failure = launch(device, shapeOf(fewArgs), seed, [&] { downFew<C>(map, fewArgs); });
  planted = {};
  return failure ? failure->message : compareWith(wanted, fewArgs);
}

template <Element E, uint32_t TopK, bool Biased = false> void check(const GemmCase &test, uint32_t slots) {
  CAPTURE(test.name, test.k, TopK, slots);
  forSchedules(15, [&](uint64_t seed) {
    return compareForms<DownFewConfig{.element = E, .topK = TopK, .biased = Biased}>(test, slots, seed);
  });
}

/// Gate-up of a step in narrow tiles, and downFew on what it gives.
class Products {
public:
  Products() {
    gateUp.few = few;
    gateUp.tileCounters = device.output(std::vector<uint32_t>(kTileCounters));
  }

  DeviceMemory &memory() { return device; }
  static LaunchShape gateUpShape() {
    return {.blocks = 2,
            .threads = hopperThreads(config),
            .sharedBytes = hopperSharedBytes(config),
            .dynamicShared = unaligned,
            .unwrittenRows = true};
  }
  LaunchShape downShape() const { return shapeOf(down); }
  void runGateUp() const { groupedGemmFitted<config, SiluGate>(gateWeights, tokenRows, activatedRows, gateUp); }
  void runDown() const { downFew<DownFewConfig{.element = Element::BF16, .topK = topK}>(downWeights, down); }
  std::string compareWith(const Products &other) const { return ::compareWith(other.output, down); }

private:
  static constexpr uint32_t tokens = 2, hidden = 72, intermediate = 128, columns = 16, experts = 6, topK = 4;
  static constexpr GemmConfig config = fittedConfig(Element::BF16, GemmRole::GateUp, 16, 32, 256, 3, 1, 1);
  static_assert(FittedRing<config>::beginsNext && hopperThreads(config) != kDownFewThreads);

  const GemmCase gateUpCase{"overlapped", tokens, hidden, intermediate, experts, topK, GemmCase::Padded, false, false},
      downCase{"overlapped", tokens, intermediate, columns, experts, topK, GemmCase::Padded, false, false};
  const GemmProblem p = makeProblem(gateUpCase, config);
  DeviceMemory device;
  GroupedGemmArgs gateUp = gemmArgs(device, p, config.tileTokens);
  const uint32_t rows = mappedRows(p.slots);
  const TensorMap gateWeights = fittedWeightMap(config, gateUp),
                  tokenRows = rowMap(gateUp.tokens, hidden, tokens, tokenBoxRows(config)),
                  activatedRows = rowMap(gateUp.output, intermediate, rows, kOutputBoxRows);
  // Ids come from what ran before gate-up: downFew reads them before gate-up is done.
  const FewPairs few{device.input(idsOf(gateUpCase)), tokens, topK, experts, 0, nullptr};
  std::mt19937_64 random{5};
  const uint16_t *weights =
      device.constant(bench::drawElements(size_t{experts} * columns * intermediate, 0.1, true, random));
  const TensorMap downWeights = downFewMap(Element::BF16, weights, downCase);
  uint16_t *output = device.output(std::vector<uint16_t>(size_t{tokens} * columns, 0x7fff));
  const DownFewArgs down{gateUp.output,
                         output,
                         device.constant(pairWeightsOf(gateUpCase)),
                         nullptr,
                         intermediate,
                         columns,
                         2,
                         few,
                         makeRing(device, experts)};
};

/// The fault that a bug in downFew leads to.
std::string faultWith(Plant plant) {
  const Caught caught = firstFailure({}, [&](uint64_t seed) {
    return compareForms<DownFewConfig{.element = Element::BF16, .topK = 4}>(
        {"padding", 2, 576, 32, 6, 4, GemmCase::Padded, true, false}, 3, seed, plant);
  });
  INFO(caught.message);
  CHECK(caught.seed > 0);
  return textOf(caught.fault());
}

} // namespace

TEST_CASE("down that owns a token's columns gives the bits of down and combine", "[emulation][downfew]") {
  check<Element::BF16, 4>({"padding", 2, 128, 32, 6, 4, GemmCase::Padded, true, false}, 4);
  check<Element::BF16, 4>({"padding, a short last chunk", 2, 320, 32, 6, 4, GemmCase::Padded, true, false}, 3);
  check<Element::BF16, 4>({"more chunks than are ahead", 2, 1344, 16, 6, 4, GemmCase::Drawn, true, false}, 5);
  check<Element::BF16, 8>({"one token", 1, 768, 32, 16, 8, GemmCase::Drawn, true, false}, 24);
  check<Element::F16, 8>({"one token of f16", 1, 320, 32, 16, 8, GemmCase::Padded, true, false}, 5);
  check<Element::BF16, 10>({"pairs in two rounds", 2, 832, 32, 16, 10, GemmCase::Padded, true, false}, 4);
  check<Element::BF16, 16>({"as many pairs as there are lanes", 2, 320, 16, 20, 16, GemmCase::Padded, true, false}, 7);
  check<Element::BF16, 4>({"padding alone", 2, 128, 32, 6, 4, GemmCase::PaddingAlone, true, false}, 4);
}

TEST_CASE("down that owns a token's columns adds biases as down does", "[emulation][downfew]") {
  check<Element::BF16, 4, true>({"padding", 2, 320, 32, 6, 4, GemmCase::Padded, true, false}, 8);
  check<Element::BF16, 4, true>({"padding alone", 2, 64, 32, 6, 4, GemmCase::PaddingAlone, true, false}, 4);
  check<Element::F16, 10, true>({"pairs in two rounds", 1, 320, 48, 16, 10, GemmCase::Padded, true, false}, 12);
}

TEST_CASE("down that owns a token's columns may begin while gate-up runs", "[emulation][downfew]") {
  forSchedules(8, runOverlapped<Products>);
  checkCaught({"downFew that waits for nothing",
               Fault::Unwritten,
               {Bug::NoOverlappedWait},
               runOverlapped<Products>,
               Fault::Race});
}

TEST_CASE("what would let it read rows or weights too early is caught", "[emulation][downfew]") {
  constexpr uint32_t empty = kDownFewMostLoads; // the first barrier that says so
  CHECK(faultWith({Bug::NoWaitForPrevious}) == textOf(Fault::Order));
  CHECK(faultWith({Bug::SkipSyncThreads, 0}) == textOf(Fault::Barrier));
  CHECK(faultWith({Bug::SkipBarrierWait, 0}) == textOf(Fault::Unwritten));
  CHECK(faultWith({Bug::SkipBarrierWait, empty}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipSyncWarp}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipNamedBarrier, 0}) == textOf(Fault::Unwritten));
  CHECK(faultWith({Bug::SkipRelease}) == textOf(Fault::Deadlock));
  CHECK(faultWith({Bug::BytesTooFew}) == textOf(Fault::Deadlock));
  CHECK(faultWith({Bug::MmaOperandOrder}) == textOf(wrongResult));
  CHECK(faultWith({Bug::SwizzleWrong}) == textOf(wrongResult));
}
