// Gate-up of few tokens (gateUpFewFp8) gives the bits that groupedGemmFp8 gives.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/core/DownFewTensor.h"
#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/downFewFp8.cuh"
#include "compiler/kernels/gateUpFewFp8.cuh"
#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/kernels/DownFewFixture.h"
#include "tests/emulation/kernels/GateUpFewFixture.h"
#include "tests/emulation/kernels/GemmFp8Fixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr GemmConfig plain = quantising(fp8Config(GemmRole::GateUp, 16, 64, 256, 5, 1, 2));
constexpr uint16_t notWritten = 0x7fff;

struct How {
  uint32_t blocks, ringBytes, startAt;
  bool joined = false; // the first of the experts, to all others
};

/// gateUpFewFp8 and groupedGemmFp8 on the same step.
class BothForms {
public:
  BothForms(const Fp8Problem &p, const How &how) : p(p), how(how) {
    usual.args.gemm.few = few;
    usual.args.gemm.output = wanted;
  }

  std::string compare(uint64_t seed, Plant plant) {
    const LaunchShape shape{.blocks = 4,
                            .threads = hopperThreads(plain),
                            .sharedBytes = fp8SharedBytes(plain),
                            .dynamicShared = unaligned,
                            .unwrittenRows = true};
    const TensorMap output = rowMap(wanted, test.n, slots, kOutputBoxRows);
    if (const auto failure = launch(usual.device, shape, seed, usual.kernel(output)))
      return "groupedGemmFp8: " + failure->message;
    planted = plant;
    const auto failure = launch(device, fewShape(), seed,
                                [&] { gateUpFewFp8<GateUpFewConfig{.element = Element::BF16}, SiluGate>(map, args); });
    planted = {};
    return failure ? failure->message : firstDifference();
  }

private:
  LaunchShape fewShape() const {
    return {.blocks = how.blocks,
            .threads = kGateUpFewThreads,
            .sharedBytes = gateUpFewSharedBytes(test.k, how.ringBytes),
            .dynamicShared = unaligned,
            .wgmmaRows = rowsThatCount(args, how.blocks),
            .unwrittenRows = true};
  }
  std::string firstDifference() const {
    uint32_t written = 0;
    for (size_t i = 0; i < size_t{slots} * test.n; ++i) {
      written += wanted[i] != notWritten;
      if (got[i] != wanted[i])
        return fmt::format("slot {} column {}: {:#x}, wanted {:#x}", i / test.n, i % test.n, got[i], wanted[i]);
    }
    const uint32_t rows = p.slots.slotPair.size() + few.joined * test.tokens;
    return how.joined || written == rows * test.n ? "" : fmt::format("{} of {} rows", written / test.n, rows);
  }

  const Fp8Problem &p;
  const GemmCase &test = p.test;
  const How how;
  Fp8Launch<plain> usual{p};
  DeviceMemory device; // gateUpFewFp8's own, so that its inputs are yet to be waited for
  const std::vector<int32_t> ids = idsOf(test);
  // Of a joined layer, ids that are the last expert's number are no expert's, as padding's are.
  FewPairs few{usual.device.input(ids), test.tokens, test.topK, test.experts - how.joined, how.joined, nullptr};
  const uint32_t slots = usual.numRows() + few.joined * test.tokens;
  const std::vector<uint16_t> nothing = std::vector<uint16_t>(size_t{slots} * test.n, notWritten);
  uint16_t *wanted = usual.device.output(nothing), *got = device.output(nothing);
  const uint64_t matrix = uint64_t{test.n} * test.k, gate = addressOf(device.constant(fusedElements(p)));
  const TensorMap map =
      tensorMap<TensorMap>(gateUpFewTensor(gate, gate + matrix, test.k, test.n, test.experts, 2 * matrix));
  const GateUpFewFp8Args args{device.input(p.tokens),
                              got,
                              device.constant(p.weights.scales),
                              device.constant(p.up.scales),
                              usual.args.expertScaleStride,
                              2 * test.n / kGateUpFewColumns,
                              test.k,
                              test.n,
                              how.ringBytes,
                              how.startAt,
                              {device.input(ids), few.numTokens, few.topK, few.numExperts, few.joined, nullptr}};
};

std::string compareForms(const Fp8Problem &p, const How &how, uint64_t seed, Plant plant = {}) {
  return BothForms(p, how).compare(seed, plant);
}

void check(const GemmCase &test, const How &how) {
  const Fp8Problem problem = makeFp8Problem(test, GemmRole::GateUp);
  CAPTURE(test.name, how.blocks, how.ringBytes, how.startAt, how.joined);
  forSchedules(10, [&](uint64_t seed) { return compareForms(problem, how, seed); });
}

/// The fault that a bug in gateUpFewFp8 leads to: two products a block, one after the other in each ring.
std::string faultWith(Plant plant) {
  static const Fp8Problem problem =
      makeFp8Problem({"padding", 2, 640, 136, 10, 8, GemmCase::Padded, true, false}, GemmRole::GateUp);
  const Caught caught =
      firstFailure({}, [&](uint64_t seed) { return compareForms(problem, {8, 64 * 1024, 1}, seed, plant); });
  INFO(caught.message);
  CHECK(caught.seed > 0);
  return textOf(caught.fault());
}

constexpr uint32_t manyTokens = 2, manyHidden = 384, manyPairs = 4, columns = 32, intermediate = 128;

/// Gate-up of few tokens of a step of two, and whoever is down behind it.
template <class Down> class FewLayer {
public:
  DeviceMemory &memory() { return device; }
  LaunchShape gateUpShape() const {
    return {.blocks = blocks,
            .threads = kGateUpFewThreads,
            .sharedBytes = gateUpFewSharedBytes(manyHidden, gateUp.ringBytes),
            .dynamicShared = unaligned,
            .wgmmaRows = rowsThatCount(gateUp, blocks),
            .unwrittenRows = true};
  }
  static LaunchShape downShape() { return Down::shape(); }
  void runGateUp() const { gateUpFewFp8<GateUpFewConfig{.element = Element::BF16}, SiluGate>(weights, gateUp); }
  void runDown() const { down.run(); }
  std::string compareWith(const FewLayer &other) const { return down.compareWith(other.down); }

private:
  static constexpr bool joined = Down::joined;
  static constexpr uint32_t blocks = 4;

  static const Fp8Problem &problem() {
    static const Fp8Problem made = makeFp8Problem(
        {"overlapped", manyTokens, manyHidden, intermediate, 6 + joined, manyPairs, GemmCase::Padded, true, false},
        GemmRole::GateUp);
    return made;
  }

  DeviceMemory device;
  const Fp8Problem &p = problem();
  // Ids come from what ran before gate-up: down reads them before gate-up is done.
  const FewPairs few{device.input(idsOf(p.test)), manyTokens, manyPairs, 6, joined, nullptr};
  uint16_t *rows = device.output<uint16_t>(size_t{manyTokens} * (manyPairs + joined) * intermediate);
  const uint64_t matrix = uint64_t{intermediate} * manyHidden, gate = addressOf(device.constant(fusedElements(p)));
  const TensorMap weights =
      tensorMap<TensorMap>(gateUpFewTensor(gate, gate + matrix, manyHidden, intermediate, 6 + joined, 2 * matrix));
  const GateUpFewFp8Args gateUp{device.input(p.tokens),
                                rows,
                                device.constant(p.weights.scales),
                                device.constant(p.up.scales),
                                int64_t{p.weights.rowBlocks()} * p.weights.columnBlocks(),
                                2 * intermediate / kGateUpFewColumns,
                                manyHidden,
                                intermediate,
                                48 * 1024,
                                1,
                                few};
  Down down{device, rows, few, pairWeightsOf(p.test)};
};

/// Down's weights of so many experts.
const bench::Fp8Weights &drawnDown() {
  static const bench::Fp8Weights drawn = [] {
    std::mt19937_64 random(5);
    return bench::drawFp8Weights(7, columns, intermediate, 0.1, random);
  }();
  return drawn;
}

/// downFewFp8.
class DownOfFew {
public:
  static constexpr bool joined = false;

  DownOfFew(DeviceMemory &device, const uint16_t *rows, const FewPairs &few, const std::vector<float> &pairWeights)
      : output(device.output(std::vector<uint16_t>(size_t{manyTokens} * columns, notWritten))),
        weights(tensorMap<TensorMap>(
            downFewFp8Tensor(addressOf(device.constant(drawnDown().elements)), intermediate, columns, 6))),
        args{{rows, output, device.constant(pairWeights), nullptr, intermediate, columns, 1, few,
              makeRing(device, few.numExperts)},
             nullptr,
             device.constant(drawnDown().scales),
             0} {}
  static LaunchShape shape() {
    return {.blocks = downFewBlocks(manyTokens, columns),
            .threads = kDownFewThreads,
            .sharedBytes = downFewFp8SharedBytes(manyPairs, intermediate, 1),
            .dynamicShared = unaligned,
            .unwrittenRows = true};
  }
  void run() const { downFewFp8<DownFewConfig{.element = Element::BF16, .topK = manyPairs}>(weights, args); }
  std::string compareWith(const DownOfFew &other) const { return emulation::compareWith(other.output, args.down); }

private:
  uint16_t *output;
  TensorMap weights;
  DownFewFp8Args args;
};

/// Down in tiles, which quantises its rows itself.
template <bool Joined> class DownInTiles {
public:
  static constexpr bool joined = Joined;

  DownInTiles(DeviceMemory &device, const uint16_t *rows, const FewPairs &few, const std::vector<float> &)
      : slots(manyTokens * (manyPairs + Joined)),
        output(device.output(std::vector<uint16_t>(size_t{slots} * columns, notWritten))),
        outputMap(rowMap(output, columns, slots, kOutputBoxRows)),
        weights(fp8WeightMap(
            config, device.constant(drawnDown().elements),
            {"down", manyTokens, intermediate, columns, 6 + Joined, manyPairs, GemmCase::Drawn, true, false})) {
    args.gemm.few = few;
    args.gemm.tokens = rows;
    args.gemm.output = output;
    args.gemm.k = intermediate;
    args.gemm.n = columns;
    args.gemm.topK = manyPairs;
    args.gemm.numExperts = 6 + Joined;
    args.gemm.tileCounters = device.output(std::vector<uint32_t>(kTileCounters));
    args.weightScales = device.constant(drawnDown().scales);
    args.expertScaleStride = int64_t{drawnDown().rowBlocks()} * drawnDown().columnBlocks();
    tokens = rowMap(const_cast<uint16_t *>(rows), intermediate, slots, kOutputBoxRows); // (which it does not look at)
  }
  static LaunchShape shape() {
    return {.blocks = 2,
            .threads = hopperThreads(config),
            .sharedBytes = fp8SharedBytes(config),
            .dynamicShared = unaligned,
            .unwrittenRows = true};
  }
  void run() const { groupedGemmFp8<config, NoActivation>(weights, tokens, outputMap, args); }
  std::string compareWith(const DownInTiles &other) const {
    size_t written = 0;
    for (size_t i = 0; i < size_t{slots} * columns; ++i) {
      written += output[i] != notWritten;
      if (output[i] != other.output[i])
        return fmt::format("slot {} column {}: {:#x}, wanted {:#x}", i / columns, i % columns, output[i],
                           other.output[i]);
    }
    return written >= size_t{manyTokens} * columns ? "" : fmt::format("{} outputs", written);
  }

private:
  static constexpr GemmConfig config = quantising(fp8Config(GemmRole::Down, 16, 64, 256, 5, 1, 2));
  uint32_t slots;
  uint16_t *output;
  TensorMap outputMap, weights, tokens;
  Fp8GemmArgs args{};
};

} // namespace

TEST_CASE("down may begin while gate-up of few tokens runs", "[emulation][gateupfew]") {
  for (const auto run : {runOverlapped<FewLayer<DownOfFew>>, runOverlapped<FewLayer<DownInTiles<false>>>,
                         runOverlapped<FewLayer<DownInTiles<true>>>}) {
    forSchedules(8, run);
    checkCaught({"down that waits for nothing", Fault::Unwritten, {Bug::NoOverlappedWait}, run, Fault::Race});
  }
}

TEST_CASE("e4m3 gate-up of few tokens gives the bits of the products", "[emulation][gateupfew]") {
  check({"one token", 1, 256, 32, 6, 4, GemmCase::Drawn, true, false}, {2, 64 * 1024, 1});
  check({"half of a last chunk", 2, 384, 136, 6, 4, GemmCase::Padded, true, false}, {5, 64 * 1024, 1});
  check({"many experts, few slots", 2, 640, 64, 16, 8, GemmCase::Drawn, true, false}, {3, 32 * 1024, 0});
  check({"four tokens", 4, 512, 24, 16, 8, GemmCase::Padded, true, false}, {4, 48 * 1024, 2});
  check({"eight tokens of one expert each", 8, 256, 40, 4, 1, GemmCase::Drawn, true, false}, {4, 48 * 1024, 0});
  check({"more blocks than units", 1, 256, 8, 6, 4, GemmCase::Drawn, true, false}, {9, 32 * 1024, 0});
  check({"one product a block, of two units", 1, 512, 64, 4, 2, GemmCase::Drawn, true, false}, {8, 32 * 1024, 1});
  check({"long rows", 1, 4352, 16, 4, 2, GemmCase::Drawn, true, false}, {2, 64 * 1024, 8});
  check({"the longest rows", 2, 8192, 8, 3, 1, GemmCase::Drawn, true, false}, {2, 32 * 1024, 8});
  check({"rings that end amid a product", 2, 640, 136, 10, 8, GemmCase::Padded, true, false}, {8, 64 * 1024, 1});
  check({"padding alone", 2, 128, 16, 6, 4, GemmCase::PaddingAlone, true, false}, {2, 32 * 1024, 0});
}

TEST_CASE("a joined expert has rows of its own before all others", "[emulation][gateupfew]") {
  check({"one token", 1, 256, 32, 6, 4, GemmCase::Drawn, true, false}, {2, 64 * 1024, 0, true});
  check({"four tokens", 4, 384, 40, 9, 6, GemmCase::Padded, true, false}, {5, 48 * 1024, 1, true});
  check({"padding alone", 2, 128, 16, 6, 4, GemmCase::PaddingAlone, true, false}, {3, 32 * 1024, 0, true});
}

TEST_CASE("what would let gate-up of few tokens read rows or weights too early is caught", "[emulation][gateupfew]") {
  constexpr uint32_t empty = kGateUpFewRings * kGateUpFewMostSlots; // the first barrier that says so
  CHECK(faultWith({Bug::NoWaitForPrevious}) == textOf(Fault::Order));
  CHECK(faultWith({Bug::SkipSyncThreads, 0}) == textOf(Fault::Barrier));
  CHECK(faultWith({Bug::SkipBarrierWait, 0}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipBarrierWait, empty}) == textOf(Fault::Barrier));
  CHECK(faultWith({Bug::SkipSyncWarp}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipNamedBarrier, 0}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipProxyFence}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipRelease}) == textOf(Fault::Deadlock));
  CHECK(faultWith({Bug::BytesTooFew}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipWgmmaFence}) == textOf(Fault::Wgmma));
  CHECK(faultWith({Bug::SkipWgmmaWait, 0}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SkipWgmmaCommit}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::WgmmaKeepsSum}) == textOf(wrongResult));
  CHECK(faultWith({Bug::DescriptorStride}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::DescriptorAdvance}) == textOf(Fault::Race));
  CHECK(faultWith({Bug::SwizzleWrong}) == textOf(wrongResult));
}
