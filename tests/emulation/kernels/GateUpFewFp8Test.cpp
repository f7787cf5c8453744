// Gate-up of few tokens (gateUpFewFp8) gives the bits that groupedGemmFp8 gives.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/core/DownFewTensor.h"
#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/downFewFp8.cuh"
#include "compiler/kernels/gateUpFewFp8.cuh"
#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/kernels/DownFewFixture.h"
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
  /// Weight rows of a product that count, of 64: whole units of the expert's.
  uint32_t rowsThatCount() const {
    std::vector<bool> asked(test.experts);
    for (int32_t id : ids)
      if (id >= 0 && static_cast<uint32_t>(id) < few.numExperts)
        asked[id] = true;
    const auto experts = static_cast<uint32_t>(std::ranges::count(asked, true)) + few.joined;
    const uint32_t most = ceilDivide(experts * (test.n / kGateUpFewColumns), how.blocks);
    const uint32_t products = std::max(ceilDivide(most, kGateUpFewUnits), 1u);
    return std::max(ceilDivide(most, products), 1u) * 2 * kGateUpFewColumns;
  }
  LaunchShape fewShape() const {
    return {.blocks = how.blocks,
            .threads = kGateUpFewThreads,
            .sharedBytes = gateUpFewSharedBytes(test.k, how.ringBytes),
            .dynamicShared = unaligned,
            .unwrittenRows = true,
            .wgmmaRows = rowsThatCount()};
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

/// Gate-up and, behind it, down of two tokens, both in their forms of few tokens.
class FewLayer {
public:
  explicit FewLayer(uint64_t seed) : seeds(seed) {}

  std::optional<Failure> overlapped() {
    return launchOverlapped(device, gateUpShape, [&] { runGateUp(); }, downShape, [&] { runDown(); }, seeds.next());
  }
  std::optional<Failure> oneAfterTheOther() {
    if (const auto failure = launch(device, gateUpShape, seeds.next(), [&] { runGateUp(); }))
      return failure;
    return launch(device, downShape, seeds.next(), [&] { runDown(); });
  }
  std::string compareWith(const FewLayer &other) const { return emulation::compareWith(other.output, down.down); }

private:
  static constexpr uint32_t tokens = 2, hidden = 384, intermediate = 128, columns = 32, experts = 6, topK = 4;

  static const Fp8Problem &problem() {
    static const Fp8Problem made = makeFp8Problem(
        {"overlapped", tokens, hidden, intermediate, experts, topK, GemmCase::Padded, true, false}, GemmRole::GateUp);
    return made;
  }
  void runGateUp() const { gateUpFewFp8<GateUpFewConfig{.element = Element::BF16}, SiluGate>(gateUpWeights, gateUp); }
  void runDown() const { downFewFp8<DownFewConfig{.element = Element::BF16, .topK = topK}>(downWeights, down); }

  Random seeds;
  DeviceMemory device;
  const Fp8Problem &p = problem();
  const std::vector<int32_t> ids = idsOf(p.test);
  // Ids come from what ran before gate-up: down reads them before gate-up is done.
  const FewPairs few{device.input(ids), tokens, topK, experts, 0, nullptr};
  uint16_t *rows = device.output<uint16_t>(size_t{tokens} * topK * intermediate);
  uint16_t *output = device.output(std::vector<uint16_t>(size_t{tokens} * columns, notWritten));
  const uint64_t matrix = uint64_t{intermediate} * hidden, gate = addressOf(device.constant(fusedElements(p)));
  const TensorMap gateUpWeights =
      tensorMap<TensorMap>(gateUpFewTensor(gate, gate + matrix, hidden, intermediate, experts, 2 * matrix));
  const GateUpFewFp8Args gateUp{device.input(p.tokens),
                                rows,
                                device.constant(p.weights.scales),
                                device.constant(p.up.scales),
                                int64_t{p.weights.rowBlocks()} * p.weights.columnBlocks(),
                                2 * intermediate / kGateUpFewColumns,
                                hidden,
                                intermediate,
                                48 * 1024,
                                1,
                                few};
  std::mt19937_64 random{5};
  const bench::Fp8Weights drawn = bench::drawFp8Weights(experts, columns, intermediate, 0.1, random);
  const TensorMap downWeights = tensorMap<TensorMap>(
      downFewFp8Tensor(addressOf(device.constant(drawn.elements)), intermediate, columns, experts));
  const DownFewFp8Args down{{rows, output, device.constant(pairWeightsOf(p.test)), nullptr, intermediate, columns, 1,
                             few, makeRing(device, experts)},
                            nullptr,
                            device.constant(drawn.scales),
                            0};
  // Products of four units each: no expert's end makes one of fewer.
  static constexpr uint32_t blocks = 4;
  const LaunchShape gateUpShape{.blocks = blocks,
                                .threads = kGateUpFewThreads,
                                .sharedBytes = gateUpFewSharedBytes(hidden, 48 * 1024),
                                .dynamicShared = unaligned,
                                .unwrittenRows = true};
  const LaunchShape downShape{.blocks = downFewBlocks(tokens, columns),
                              .threads = kDownFewThreads,
                              .sharedBytes = downFewFp8SharedBytes(topK, intermediate, 1),
                              .dynamicShared = unaligned,
                              .unwrittenRows = true};
};

std::string runOverlapped(uint64_t seed) {
  FewLayer inTurn(seed), atOnce(seed);
  if (const auto failure = atOnce.overlapped())
    return failure->message;
  if (const auto failure = inTurn.oneAfterTheOther())
    return "one after the other: " + failure->message;
  return atOnce.compareWith(inTurn);
}

} // namespace

TEST_CASE("down of few tokens may begin while gate-up of few tokens runs", "[emulation][gateupfew]") {
  forSchedules(8, runOverlapped);
  checkCaught(
      {"downFewFp8 that waits for nothing", Fault::Unwritten, {Bug::NoOverlappedWait}, runOverlapped, Fault::Race});
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
