// A whole layer, launch after launch, as a runtime queues it: each kernel reads what the ones before have left.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/dispatchSlots.cuh"
#include "compiler/kernels/groupedGemmFitted.cuh"
#include "compiler/kernels/groupedGemmPortable.cuh"
#include "compiler/kernels/groupedGemmSm90.cuh"
#include "compiler/kernels/route.cuh"
#include "compiler/kernels/routerLogits.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/kernels/LayerFixture.h"
#include "tests/emulation/kernels/TileCounters.h"
#include "tests/emulation/machine/Plants.h"
#include "tests/emulation/machine/TensorMap.h"

using namespace moec;
using namespace moec::emulation;

namespace {

// Static slots: fewer than most experts' pairs, for others more.
constexpr uint32_t slotsOf(uint32_t expert) { return expert % 3 * 3; }
constexpr uint32_t numSlots = 21;
// Rows of the buffers between the products: a step need not be as large as its workspace, and static slots come first.
constexpr uint32_t rowsThere = numSlots + T * K + 22;

enum class Family : uint8_t { Portable, Hopper, Fitted };

constexpr GemmConfig gemmConfig(GemmRole role, Family family, bool weightOnInput) {
  return {.element = Element::BF16,
          .role = role,
          .tileTokens = 16,
          .tileWeights = family == Family::Hopper ? 128u : 64u,
          .tileK = family == Family::Fitted ? 128u : 64u,
          .stages = 3,
          .warpsTokens = 1,
          .warpsWeights = family == Family::Portable ? 2u : 1u,
          .swapAB = family != Family::Portable,
          .blocksPerSm = 1,
          .dense = false,
          .weighted = weightOnInput && role == GemmRole::GateUp};
}

/// Rows of the buffers between the products that one pair of them fills, and dispatch's tables for these.
struct Range {
  const int32_t *slotPair;
  const TileHead *tileHead;
  const TokenTile *tiles;
  uint32_t firstRow = 0;
};

/// The buffers of one run, and its launches in order; the first failure ends it.
template <bool WeightOnInput> struct LayerOf {
  DeviceMemory device;
  Random seeds;
  std::optional<Failure> failure = {};
  const uint16_t *hidden = device.input(inputs().layer.hidden), *router = device.constant(inputs().router);
  const uint16_t *gate = device.constant(inputs().gateThenUp), *up = gate + E * I * H;
  const uint16_t *down = device.constant(inputs().layer.down);
  float *logits = device.output<float>(T * E), *weights = device.output<float>(T * K);
  int32_t *ids = device.output<int32_t>(T * K);
  uint32_t *numNonFinite = device.output(std::vector<uint32_t>{0});
  int32_t *counts = device.output<int32_t>(E), *expertBegin = device.output<int32_t>(E + 1);
  TileHead *tileHead = device.output<TileHead>(1);
  TokenTile *tiles = device.output<TokenTile>(T * K / 16 + E);
  int32_t *slotPair = device.output<int32_t>(T * K), *slotOfPair = device.output<int32_t>(T * K);
  // What an earlier step has left: NaN.
  uint16_t *activated = device.output(std::vector<uint16_t>(rowsThere * I, 0x7fff));
  uint16_t *expertOutput = device.output(std::vector<uint16_t>(rowsThere * H, 0x7fff));
  uint32_t *tileCounters = device.output(std::vector<uint32_t>(2 * kTileCounters));
  uint16_t *output = device.output<uint16_t>(T * H);

  explicit LayerOf(uint64_t seed) : seeds(seed) {}

  template <class Kernel> void run(const LaunchShape &shape, Kernel kernel) {
    if (!failure)
      failure = launch(device, shape, seeds.next(), kernel);
  }

  void routeTokens() {
    RouterGemmArgs product{};
    product.hidden = hidden;
    product.weight = router;
    product.logits = logits;
    product.numTokens = T;
    product.numExperts = product.logitStride = E;
    product.hiddenSize = H;
    product.planes = 1;
    run({.blocks = 2, .threads = routerThreads(routerConfig)}, [&] { routerLogits<routerConfig>(product); });
    RouteArgs choice{};
    choice.logits = logits;
    choice.ids = ids;
    choice.weights = weights;
    choice.numNonFinite = numNonFinite;
    choice.numTokens = T;
    choice.logitStride = E;
    choice.scale = 1;
    run({.blocks = 3, .threads = routeConfig.threads}, [&] { route<routeConfig>(choice); });
  }

  /// Of all pairs, or of those that `slots` had no room for.
  Range dispatch(const DispatchSlotsArgs *slots = nullptr) {
    DispatchArgs args{};
    args.ids = slots ? slots->spillIds : ids;
    args.pairOf = slots ? slots->spillPairs : nullptr;
    args.pairsOnDevice = slots ? slots->spillCount : nullptr;
    args.slotOffset = slots ? int32_t{numSlots} : 0;
    args.counts = counts;
    args.expertBegin = expertBegin;
    args.tileHead = tileHead;
    args.tiles = tiles;
    args.slotPair = slotPair;
    args.slotOfPair = slotOfPair;
    args.numPairs = slots ? 0 : T * K;
    args.tileTokens = 16;
    run({.blocks = 1, .threads = dispatchConfig.threads}, [&] { dispatchOneBlock<dispatchConfig>(args); });
    return {slotPair, tileHead, tiles, static_cast<uint32_t>(args.slotOffset)};
  }

  DispatchSlotsArgs slotsArgs() {
    std::vector<int32_t> begin{0};
    for (uint32_t e = 0; e < E; ++e)
      begin.push_back(begin.back() + static_cast<int32_t>(slotsOf(e)));
    REQUIRE(begin.back() == int32_t{numSlots});
    DispatchSlotsArgs args{};
    args.ids = ids;
    args.slotBegin = device.constant(begin);
    args.counts = device.output<int32_t>(E);
    args.tileHead = device.output<TileHead>(1);
    args.tiles = device.output<TokenTile>(numSlots / 16 + E);
    args.slotPair = device.output<int32_t>(numSlots);
    args.slotOfPair = slotOfPair;
    args.spillPairs = device.output<int32_t>(T * K);
    args.spillIds = device.output<int32_t>(T * K);
    args.spillCount = device.output<int32_t>(1);
    args.cursors = device.output(std::vector<int32_t>(E + 2, 0));
    args.numPairs = T * K;
    args.tileTokens = 16;
    return args;
  }

  Range dispatchIntoSlots(const DispatchSlotsArgs &args) {
    run({.blocks = 2, .threads = dispatchConfig.threads, .together = true},
        [&] { dispatchSlots<dispatchConfig>(args); });
    return {args.slotPair, args.tileHead, args.tiles};
  }

  template <GemmConfig c, class Activation> void fitted(GroupedGemmArgs args, uint32_t rows) {
    constexpr bool gated = c.role == GemmRole::GateUp;
    args.tileCounters = tileCounters + (gated ? 0 : kTileCounters);
    const auto stride = static_cast<uint64_t>(args.expertStride);
    const TensorMap matrix = tensorMap<TensorMap>(
        gated ? interleavedTensor(c.element, addressOf(args.weights), addressOf(args.upWeights), args.k, args.n, E,
                                  stride, boxGroups(c))
              : weightTensor(c.element, addressOf(args.weights), args.k, args.n, E, stride, boxRows(c)));
    const TensorMap output =
        tensorMap<TensorMap>(rowTensor(c.element, addressOf(args.output), args.n, rows, kOutputBoxRows));
    const TensorMap tokens = tensorMap<TensorMap>(
        rowTensor(c.element, addressOf(args.tokens), args.k, gathersTokens(c) ? T : rows, tokenBoxRows(c)));
    run({.blocks = 3 / c.clusterBlocks * c.clusterBlocks,
         .threads = hopperThreads(c),
         .sharedBytes = hopperSharedBytes(c),
         .dynamicShared = unaligned,
         .unwrittenRows = true,
         .clusterBlocks = c.clusterBlocks},
        [&] { groupedGemmFitted<c, Activation>(matrix, tokens, output, args); });
  }

  template <Family F> void gateUpOf(const Range &range) {
    gemm<F, GemmRole::GateUp, SiluGate>(range, hidden, gate, up, activated + range.firstRow * I, H, I);
  }
  template <Family F> void downOf(const Range &range) {
    gemm<F, GemmRole::Down, NoActivation>(range, activated + range.firstRow * I, down, down,
                                          expertOutput + range.firstRow * H, I, H);
  }

  template <Family F, GemmRole Role, class Activation>
  void gemm(const Range &range, const void *tokens, const uint16_t *first, const uint16_t *second, void *to, uint32_t k,
            uint32_t n) {
    GroupedGemmArgs args{};
    args.tokens = tokens;
    args.weights = first;
    args.upWeights = second;
    args.output = to;
    args.slotPair = range.slotPair;
    args.tileHead = range.tileHead;
    args.tiles = range.tiles;
    args.expertStride = int64_t{k} * n;
    args.k = k;
    args.n = n;
    args.topK = K;
    args.numExperts = E;
    args.pairWeights = weights;
    constexpr GemmConfig c = gemmConfig(Role, F, WeightOnInput);
    if constexpr (F == Family::Fitted) {
      fitted<c, Activation>(args, rowsThere - range.firstRow);
    } else if constexpr (F == Family::Hopper) {
      const auto map = [&](const void *from) {
        return weightMap<TensorMap>(from, k, n, E, uint64_t{k} * n, boxRows(c));
      };
      const TensorMap firstMap = map(first), secondMap = map(second);
      run({.blocks = 2, .threads = hopperThreads(c), .sharedBytes = hopperSharedBytes(c), .dynamicShared = unaligned},
          [&] { groupedGemmSm90<c, Activation>(firstMap, secondMap, args); });
    } else {
      run({.blocks = 2,
           .threads = portableThreads(c),
           .sharedBytes = portableSharedBytes(c),
           .dynamicShared = stages,
           .sharedAlignment = 128},
          [&] { groupedGemmPortable<c, Activation>(args); });
    }
  }

  void combineRows() {
    CombineArgs args{};
    args.expertOutput = expertOutput;
    args.slotOfPair = slotOfPair;
    args.weights = WeightOnInput ? nullptr : weights;
    args.output = output;
    args.numTokens = T;
    args.hidden = H;
    static constexpr CombineConfig config{
        .element = Element::BF16, .topK = K, .threads = combineConfig.threads, .weighted = !WeightOnInput};
    run({.blocks = 2, .threads = config.threads}, [&] { combine<config>(args); });
  }

  std::string check() const {
    if (const std::string wrong = checkLayer(logits, E, ids, weights, output, WeightOnInput); !wrong.empty())
      return wrong;
    if (leavesCounters(tileCounters, 2))
      return "a tile counter is not left as zero";
    return *numNonFinite == E ? "" : fmt::format("{} logits were not finite", *numNonFinite);
  }
};

using Layer = LayerOf<false>;

template <Family GateUp, Family Down, bool WeightOnInput = false> std::string runLayer(uint64_t seed) {
  LayerOf<WeightOnInput> layer(seed);
  layer.routeTokens();
  const Range all = layer.dispatch();
  layer.template gateUpOf<GateUp>(all);
  layer.template downOf<Down>(all);
  layer.combineRows();
  return layer.failure ? layer.failure->message : layer.check();
}

/// Static slots, then what they have no room for behind them: two pairs of products, and one sum over both.
template <Family GateUp, Family Down, bool WeightOnInput = false> std::string runSlotsLayer(uint64_t seed) {
  LayerOf<WeightOnInput> layer(seed);
  layer.routeTokens();
  const DispatchSlotsArgs slots = layer.slotsArgs();
  const Range inSlots = layer.dispatchIntoSlots(slots), spilled = layer.dispatch(&slots);
  for (const Range &range : {inSlots, spilled}) {
    layer.template gateUpOf<GateUp>(range);
    layer.template downOf<Down>(range);
  }
  layer.combineRows();
  if (layer.failure)
    return layer.failure->message;
  if (*slots.spillCount == 0 || *slots.spillCount == T * K)
    return fmt::format("{} pairs are spilled, so one range is not tested", *slots.spillCount);
  return layer.check();
}

/// Neither gate-up may read tables that dispatch still writes, nor down rows that gate-up does.
template <bool GateUpWaits> std::string runWithoutWait(uint64_t seed) {
  Layer layer(seed);
  layer.routeTokens();
  const Range all = layer.dispatch();
  if (!GateUpWaits)
    planted = {Bug::NoWaitForPrevious};
  layer.gateUpOf<Family::Fitted>(all);
  planted = {Bug::NoWaitForPrevious};
  layer.downOf<Family::Fitted>(all);
  planted = {};
  return layer.failure && layer.failure->fault == Fault::Order ? "" : "nobody noticed";
}

/// Down looks its first tile up while the kernel before it runs: that one must not let it start before it has waited
/// for dispatch, which may still write the tables.
std::string runDownThatStartsEarly(uint64_t seed) {
  Layer layer(seed);
  layer.routeTokens();
  const Range all = layer.dispatch();
  layer.run({.blocks = 2, .threads = 64}, [] {
    ptx::startNext();
    ptx::waitForPrevious();
  });
  layer.downOf<Family::Fitted>(all);
  return layer.failure && layer.failure->fault == Fault::Order ? "" : "nobody noticed";
}

/// Nor may that one be the tables' own.
std::string runDownBehindDispatch(uint64_t seed) {
  Layer layer(seed);
  layer.routeTokens();
  layer.downOf<Family::Fitted>(layer.dispatch());
  return layer.failure && layer.failure->fault == Fault::Order ? "" : "nobody noticed";
}

} // namespace

TEST_CASE("a layer of emulated kernels gives the reference's output, portable", "[emulation][layer]") {
  forSchedules(kSchedules, runLayer<Family::Portable, Family::Portable>);
}

TEST_CASE("a layer of emulated kernels gives the reference's output, Hopper", "[emulation][layer]") {
  forSchedules(kSchedules, runLayer<Family::Hopper, Family::Hopper>);
}

TEST_CASE("a layer of emulated kernels gives the reference's output, fitted", "[emulation][layer]") {
  forSchedules(kSchedules, runLayer<Family::Fitted, Family::Fitted>);
}

TEST_CASE("fitted products that do not wait for the launch before them are caught", "[emulation][layer]") {
  forSchedules(5, runWithoutWait<false>);
  forSchedules(5, runWithoutWait<true>); // down alone does not wait
}

TEST_CASE("a fitted down product that is let start too early is caught", "[emulation][layer]") {
  forSchedules(5, runDownThatStartsEarly);
}

TEST_CASE("a fitted down product that reads tables of the launch just before it is caught", "[emulation][layer]") {
  forSchedules(5, runDownBehindDispatch);
}

TEST_CASE("a layer of emulated kernels gives the reference's output, families mixed", "[emulation][layer]") {
  forSchedules(kSchedules, runLayer<Family::Fitted, Family::Portable>);
  forSchedules(kSchedules, runLayer<Family::Hopper, Family::Fitted>);
}

TEST_CASE("a layer with weights on its experts' input gives the reference's output", "[emulation][layer]") {
  forSchedules(kSchedules, runLayer<Family::Portable, Family::Portable, true>);
  forSchedules(kSchedules, runLayer<Family::Hopper, Family::Hopper, true>);
  forSchedules(kSchedules, runLayer<Family::Fitted, Family::Fitted, true>);
  forSchedules(kSchedules, runSlotsLayer<Family::Fitted, Family::Fitted, true>);
}

TEST_CASE("a layer in static slots with a spill list gives the reference's output", "[emulation][layer]") {
  forSchedules(kSchedules, runSlotsLayer<Family::Portable, Family::Portable>);
  forSchedules(kSchedules, runSlotsLayer<Family::Fitted, Family::Fitted>);
}
