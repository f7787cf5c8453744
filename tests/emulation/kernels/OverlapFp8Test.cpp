// Down of e4m3 that begins while gate-up still computes (Fp8Ring::beginsNext): it brings weights, and waits for the
// rows.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/kernels/GemmFp8Fixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

// Both have as many threads: what can overlap here.
constexpr GemmConfig gateUpConfig = fp8Config(GemmRole::GateUp, 16, 256, 128, 3, 2, 1),
                     downConfig = fp8Config(GemmRole::Down, 16, 256, 128, 3, 2, 1),
                     roundingConfig = fp8Config(GemmRole::GateUp, 16, 64, 256, 3, 1, 2);
using GateUpRing = Fp8Ring<gateUpConfig>;
static_assert(GateUpRing::beginsNext && GateUpRing::leastRounds == 2);
static_assert(!Fp8Ring<roundingConfig>::beginsNext, "quantise is the launch behind it");
static_assert(!Fp8Ring<downConfig>::beginsNext);
static_assert(!Fp8Ring<inRows(fp8Config(GemmRole::GateUp, 128, 256, 128, 3, 2, 1))>::beginsNext,
              "wide tiles lose by it");

/// Gate-up's problem, and down's, whose rows are what comes of gate-up's.
struct Chain {
  Fp8Problem gateUp, down;

  explicit Chain(const GemmCase &test) : gateUp(makeFp8Problem(test, GemmRole::GateUp)) {
    GemmCase other = test;
    std::swap(other.k, other.n);
    down = makeFp8Problem(other, GemmRole::Down);
    down.slots = gateUp.slots;
    std::vector<uint16_t> rounded;
    REQUIRE(runFp8<roundingConfig>(gateUp, 1, 3, &rounded) == "");
    down.rows = bench::quantiseRows(rounded, test.n, true);
    down.expected = bench::referenceFp8Product(down.rows, down.weights, down.slots.expertBegin);
  }
};

template <GemmConfig C> LaunchShape shapeOf(uint32_t blocks) {
  return {.blocks = blocks,
          .threads = hopperThreads(C),
          .sharedBytes = fp8SharedBytes(C),
          .dynamicShared = unaligned,
          .unwrittenRows = true,
          .together = true};
}

/// Both products in one memory, down behind gate-up.
std::string runChain(const Chain &chain, uint32_t gateUpBlocks, uint32_t downBlocks, uint64_t seed) {
  Fp8Launch<gateUpConfig> gateUp(chain.gateUp);
  DeviceMemory &device = gateUp.device;
  const GemmCase &test = chain.down.test; // sums as long as gate-up has columns
  const uint32_t slots = gateUp.numRows();
  auto *rows = device.output<uint8_t>(chain.down.rows.elements.size() + 1);
  auto *scales = device.output<float>(ceilDivide(test.k, kFp8Block) * chain.gateUp.rows.stride + 1);
  gateUp.args.gemm.output = rows;
  gateUp.args.outputScales = scales;
  const auto rowsIn = [&](uint32_t boxRows) {
    return tensorMap<TensorMap>(inBytes(rowTensor(Element::BF16, addressOf(rows), test.k / 2, slots, boxRows)));
  };
  const TensorMap activated = rowsIn(kOutputBoxRows), activatedTokens = rowsIn(tokenBoxRows(downConfig));

  Fp8GemmArgs down = gateUp.args; // tables, too
  uint16_t *output = device.output(std::vector<uint16_t>(chain.down.expected.size() + 1, 0x7fff));
  down.gemm.output = output;
  down.gemm.k = test.k;
  down.gemm.n = test.n;
  down.gemm.tileCounters = device.output(std::vector<uint32_t>(kTileCounters));
  down.tokenScales = scales;
  down.weightScales = device.constant(chain.down.weights.scales);
  down.expertScaleStride = int64_t{chain.down.weights.rowBlocks()} * chain.down.weights.columnBlocks();
  const TensorMap weights = fp8WeightMap(downConfig, device.constant(chain.down.weights.elements), test),
                  outputs = rowMap(output, test.n, slots, kOutputBoxRows);
  const auto failure = launchOverlapped(
      device, shapeOf<gateUpConfig>(gateUpBlocks), gateUp.kernel(activated), shapeOf<downConfig>(downBlocks),
      [&] { groupedGemmFp8<downConfig, NoActivation>(weights, activatedTokens, outputs, down); }, seed);
  if (failure)
    return failure->message;
  for (size_t i = 0; i < chain.down.expected.size(); ++i)
    if (const double got = bench::elementValue(output[i], true), expected = chain.down.expected[i];
        !(std::abs(got - expected) <= 1.0 / 256 * (std::abs(expected) + 1)))
      return fmt::format("row {} column {}: {}, expected {}", i / test.n, i % test.n, got, expected);
  return leavesCounters(gateUp.args.gemm.tileCounters) || leavesCounters(down.gemm.tileCounters)
             ? "a tile counter is not left as zero"
             : "";
}

/// More than two tiles of gate-up for each block, and fewer.
std::string manyTiles(uint64_t seed) {
  static const Chain chain({"many tiles", 40, 400, 272, 4, 2, GemmCase::Drawn, true, false});
  return runChain(chain, 3, 4, seed);
}
std::string fewTiles(uint64_t seed) {
  static const Chain chain({"few tiles", 2, 400, 144, 4, 2, GemmCase::Drawn, true, false});
  return runChain(chain, 6, 4, seed);
}

} // namespace

TEST_CASE("down of e4m3 waits for the whole of gate-up, whenever it begins", "[emulation][overlap][fp8]") {
  forSchedules(20, manyTiles);
  forSchedules(20, fewTiles);
}

TEST_CASE("down of e4m3 that waits for nothing is caught", "[emulation][overlap][fp8]") {
  checkCaught({"no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, manyTiles});
}

TEST_CASE("gate-up of e4m3 lets down begin early where there are so many tiles for each block",
          "[emulation][overlap][fp8]") {
  const Fp8Problem problem =
      makeFp8Problem({"rounds", 40, 400, 272, 4, 2, GemmCase::Drawn, true, false}, GemmRole::GateUp);
  Fp8Launch<gateUpConfig> product(problem);
  const uint32_t tiles = product.args.gemm.tileHead->tokenTiles * ceilDivide(272, outputColumns(gateUpConfig));
  for (const auto &[blocks, wanted] : {std::pair{tiles / 2, true}, {tiles / 2 + 1, false}}) {
    auto *got = product.device.output<uint32_t>(blocks);
    const auto failure = launch(product.device, {.blocks = blocks, .threads = 32}, 1, [&] {
      ptx::waitForPrevious();
      if (threadIdx.x > 0)
        return;
      tile::WorkFinder<gateUpConfig, GateUpRing> finder{product.args.gemm};
      finder.first();
      got[blockIdx.x] = finder.hasRounds(GateUpRing::leastRounds);
    });
    REQUIRE(messageOf(failure) == "");
    CHECK(std::all_of(got, got + blocks, [&](uint32_t is) { return is == (wanted ? 1 : 0); }));
  }
}
