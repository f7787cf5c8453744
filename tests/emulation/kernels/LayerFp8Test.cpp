// A layer of e4m3 weights, launch after launch: dispatch, quantise, gate-up, quantise, down, combine. Products look at
// the tile tables and weights while quantise runs, which must be in order.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/groupedGemmFp8.cuh"
#include "compiler/kernels/quantise.cuh"
#include "tests/emulation/kernels/GemmFp8Fixture.h"
#include "tests/emulation/kernels/LayerFp8Fixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

struct Fp8Layer {
  DeviceMemory device;
  Random seeds;
  std::optional<Failure> failure = {};
  const uint16_t *hidden = device.input(inputs().hidden);
  const int32_t *ids = device.input(inputs().ids);
  const float *pairWeights = device.input(inputs().pairWeights);
  int32_t *counts = device.output<int32_t>(E), *expertBegin = device.output<int32_t>(E + 1);
  TileHead *tileHead = device.output<TileHead>(1);
  TokenTile *tiles = device.output<TokenTile>(T * K / 16 + E);
  int32_t *slotPair = device.output<int32_t>(T * K), *slotOfPair = device.output<int32_t>(T * K);
  // What an earlier step has left, NaN: boxes of the copy engine reach beyond the rows in use.
  uint8_t *rows = device.output(std::vector<uint8_t>(T * K * H, 0x7f));
  uint8_t *activatedRows = device.output(std::vector<uint8_t>(T * K * I, 0x7f));
  float *tokenScales = device.output<float>(stride * 3), *activatedScales = device.output<float>(stride * 2);
  uint16_t *activated = device.output<uint16_t>(T * K * I), *expertOutput = device.output<uint16_t>(T * K * H);
  uint32_t *tileCounters = device.output(std::vector<uint32_t>(2 * kTileCounters));
  uint16_t *output = device.output<uint16_t>(T * H);

  explicit Fp8Layer(uint64_t seed) : seeds(seed) {}

  template <class Kernel> void run(const LaunchShape &shape, Kernel kernel) {
    if (!failure)
      failure = launch(device, shape, seeds.next(), kernel);
  }

  void dispatch() {
    DispatchArgs args{};
    args.ids = ids;
    args.counts = counts;
    args.expertBegin = expertBegin;
    args.tileHead = tileHead;
    args.tiles = tiles;
    args.slotPair = slotPair;
    args.slotOfPair = slotOfPair;
    args.numPairs = T * K;
    args.tileTokens = 16;
    run({.blocks = 1, .threads = dispatchConfig.threads}, [&] { dispatchOneBlock<dispatchConfig>(args); });
  }

  void quantiseTokens() {
    const QuantiseArgs args{.rows = hidden,
                            .slotOfPair = slotOfPair,
                            .rowsInUse = nullptr,
                            .quantised = rows,
                            .scales = tokenScales,
                            .numRows = T,
                            .k = H,
                            .topK = K,
                            .scaleStride = stride};
    run({.blocks = 2, .threads = quantiseConfig.threads}, [&] { quantise<quantiseConfig>(args); });
  }

  void quantiseActivated() {
    const QuantiseArgs args{.rows = activated,
                            .slotOfPair = nullptr,
                            .rowsInUse = expertBegin + E,
                            .quantised = activatedRows,
                            .scales = activatedScales,
                            .numRows = T * K,
                            .k = I,
                            .topK = 1,
                            .scaleStride = stride};
    run({.blocks = 2, .threads = quantiseConfig.threads}, [&] { quantise<quantiseConfig>(args); });
  }

  template <GemmRole Role> void product() {
    constexpr bool gated = Role == GemmRole::GateUp;
    constexpr GemmConfig c = fp8Config(Role, 16, 64, 128, 3, 1, 2);
    constexpr uint32_t k = gated ? H : I, n = gated ? I : H;
    const bench::Fp8Weights &first = gated ? inputs().gate : inputs().down;
    Fp8Problem problem{.test = {"", T, k, n, E, K, GemmCase::Drawn, true, false},
                       .role = Role,
                       .slots = {},
                       .tokens = {},
                       .rows = {},
                       .weights = first,
                       .up = gated ? inputs().up : first,
                       .expected = {}};
    Fp8GemmArgs args{};
    args.gemm.output = gated ? activated : expertOutput;
    args.gemm.tileHead = tileHead;
    args.gemm.tiles = tiles;
    args.gemm.k = k;
    args.gemm.n = n;
    args.gemm.numExperts = E;
    args.gemm.tileCounters = tileCounters + (gated ? 0 : kTileCounters);
    args.tokenScales = gated ? tokenScales : activatedScales;
    args.tokenScaleStride = stride;
    args.weightScales = device.constant(first.scales);
    args.upWeightScales = gated ? device.constant(inputs().up.scales) : nullptr;
    args.expertScaleStride = int64_t{first.rowBlocks()} * first.columnBlocks();
    const TensorMap weights =
        fp8WeightMap(c, device.constant(gated ? fusedElements(problem) : first.elements), problem.test);
    const TensorMap tokens = tensorMap<TensorMap>(
        inBytes(rowTensor(Element::BF16, addressOf(gated ? rows : activatedRows), k / 2, T * K, tokenBoxRows(c))));
    const TensorMap outputs = rowMap(args.gemm.output, n, T * K, kOutputBoxRows);
    using Activation = std::conditional_t<gated, SiluGate, NoActivation>;
    run({.blocks = 3,
         .threads = hopperThreads(c),
         .sharedBytes = fp8SharedBytes(c),
         .dynamicShared = unaligned,
         .unwrittenRows = true},
        [&] { groupedGemmFp8<c, Activation>(weights, tokens, outputs, args); });
  }

  void combineRows() {
    CombineArgs args{};
    args.expertOutput = expertOutput;
    args.slotOfPair = slotOfPair;
    args.weights = pairWeights;
    args.output = output;
    args.numTokens = T;
    args.hidden = H;
    run({.blocks = 2, .threads = combineConfig.threads}, [&] { combine<combineConfig>(args); });
  }
};

std::string check(const Fp8Layer &layer) {
  const std::string wrong = checkLayer({.rounded = layer.activated}, layer.output);
  return wrong.empty() && leavesCounters(layer.tileCounters, 2) ? "a tile counter is not left as zero" : wrong;
}

std::string runLayer(uint64_t seed) {
  Fp8Layer layer(seed);
  layer.dispatch();
  layer.quantiseTokens();
  layer.product<GemmRole::GateUp>();
  layer.quantiseActivated();
  layer.product<GemmRole::Down>();
  layer.combineRows();
  return layer.failure ? layer.failure->message : check(layer);
}

/// Gate-up looks its first tile up while the kernel before it runs; that one must not be the tables' own.
std::string runBehindDispatch(uint64_t seed) {
  Fp8Layer layer(seed);
  layer.dispatch();
  layer.product<GemmRole::GateUp>();
  return layer.failure && layer.failure->fault == Fault::Order ? "" : "nobody noticed";
}

} // namespace

TEST_CASE("a layer of e4m3 weights gives the reference's output, whatever the schedule", "[emulation][layer][fp8]") {
  forSchedules(kSchedules, runLayer);
}

TEST_CASE("an e4m3 product that reads tables of the launch just before it is caught", "[emulation][layer][fp8]") {
  forSchedules(5, runBehindDispatch);
}
