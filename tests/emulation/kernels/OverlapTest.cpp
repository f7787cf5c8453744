// Down that begins with rows while gate-up still computes others (tile/Progress.cuh): both launches at the same time,
// in random turns, and one after the other.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/kernels/groupedGemmFitted.cuh"
#include "tests/emulation/kernels/GemmFittedFixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

// A hot expert with several tiles, one without a row, cold ones with odd numbers of rows; sizes that fill no tile.
constexpr uint32_t H = 264, I = 136, E = 5;

constexpr uint32_t schedules = 25;

/// In pairs two warpgroups, as in the class that ships. Two boxes of rows, so that both blocks of a pair load some.
constexpr uint32_t tileTokens = 2 * kWideBoxRows;
constexpr GemmConfig configOf(GemmRole role, uint32_t clusterBlocks, bool narrow) {
  if (narrow) // as one token of the DeepSeek-V3 slice has them
    return role == GemmRole::GateUp ? fittedConfig(Element::BF16, role, 16, 32, 256, 3, 1, 1)
                                    : fittedConfig(Element::BF16, role, 16, 64, 128, 3, 1, 2);
  GemmConfig config = fittedConfig(Element::BF16, role, tileTokens, 128 * clusterBlocks, 64, 3, clusterBlocks, 1);
  config.clusterBlocks = clusterBlocks;
  return config;
}

constexpr uint32_t pairs = 180;

struct Problem {
  uint32_t T;
  bench::LayerInputs inputs;
  bench::ReferenceSlots slots;
  std::vector<int32_t> rows;    // of each expert
  std::vector<double> expected; // [T * K, H] what down gives, by slot
};

/// Whom a token goes to besides the hot expert.
int32_t coldExpert(uint32_t token) { return token % 7 == 0 ? 4 : token % 3 == 0 ? 0 : 3; }

/// Tokens have the hot expert and a cold one, or one expert: the hot one, a cold one or none.
template <uint32_t K> void addExperts(uint32_t token, std::vector<int32_t> &ids) {
  static_assert(K == 1 || K == 2);
  const bool isHot = K == 2 || token % 5 < 3;
  if (isHot)
    ids.push_back(1);
  if (K == 2 || !isHot)
    ids.push_back(K == 1 && token % 11 == 0 ? -1 : coldExpert(token));
}

template <uint32_t K> const Problem &problem() {
  static const Problem made = [] {
    constexpr uint32_t T = pairs / K;
    Problem p;
    p.T = T;
    std::mt19937_64 random(23);
    const auto draw = [&](size_t count, double scale) { return bench::drawElements(count, scale, true, random); };
    p.inputs.shape = {T, H, I, E, K};
    p.inputs.bf16 = true;
    p.inputs.hidden = draw(T * H, 1);
    p.inputs.gate = draw(E * I * H, 1 / std::sqrt(H));
    p.inputs.up = draw(E * I * H, 1 / std::sqrt(H));
    p.inputs.down = draw(E * H * I, 1 / std::sqrt(I));
    for (uint32_t t = 0; t < T; ++t)
      addExperts<K>(t, p.inputs.ids);
    for (uint32_t pair = 0; pair < pairs; ++pair)
      p.inputs.weights.push_back(static_cast<float>(pair % 9 + 1) / 8);
    p.slots = bench::referenceSlots(p.inputs.ids, E);
    for (uint32_t e = 0; e < E; ++e)
      p.rows.push_back(p.slots.expertBegin[e + 1] - p.slots.expertBegin[e]);
    const bench::ReferenceLayer layer = bench::referenceLayer(p.inputs, p.slots);
    for (uint32_t e = 0; e < E; ++e)
      for (auto slot = static_cast<uint32_t>(p.slots.expertBegin[e]);
           slot < static_cast<uint32_t>(p.slots.expertBegin[e + 1]); ++slot)
        for (uint32_t h = 0; h < H; ++h) {
          double sum = 0;
          for (uint32_t i = 0; i < I; ++i)
            sum +=
                layer.activated[slot * I + i] * double{bench::elementValue(p.inputs.down[(e * H + h) * I + i], true)};
          p.expected.push_back(sum);
        }
    return p;
  }();
  return made;
}

template <uint32_t K> bench::ReferenceTiles tilesOf(uint32_t tokens) {
  return bench::referenceTiles(problem<K>().rows, problem<K>().slots.expertBegin, tokens, 1);
}

/// Both products on buffers of their own. `Combines`: down's form for tokens of one expert.
template <uint32_t ClusterBlocks, bool Combines = false, bool Narrow = false> class Products {
public:
  static constexpr GemmConfig gateUpConfig = configOf(GemmRole::GateUp, ClusterBlocks, Narrow),
                              downConfig = Combines ? combining(configOf(GemmRole::Down, ClusterBlocks, Narrow))
                                                    : configOf(GemmRole::Down, ClusterBlocks, Narrow);

  Products(uint64_t seed, bool follows) : seeds(seed) {
    gateUp.tokens = device.constant(p.inputs.hidden);
    gateUp.weights = device.constant(p.inputs.gate);
    gateUp.upWeights = device.constant(p.inputs.up);
    gateUp.output = activated;
    gateUp.expertStride = int64_t{H} * I;
    gateUp.k = H;
    gateUp.n = I;
    gateUp.numExperts = E;
    gateUp.topK = K;
    gateUp.slotPair = device.constant(p.slots.slotPair);
    gateUp.tileHead = device.constant(std::vector<TileHead>{tiles.head});
    gateUp.tiles = device.constant(tiles.tiles);
    gateUp.tileCounters = counters;
    if (!Narrow)
      gateUp.progress = gateUpProgress(counts, gateUpConfig, I, gateUpBlocks);
    down = gateUp;
    down.tokens = activated;
    down.weights = down.upWeights = device.constant(p.inputs.down);
    down.output = output;
    down.k = I;
    down.n = H;
    down.tileCounters = counters + kTileCounters;
    if (Combines) {
      down.numRows = T;
      down.pairWeights = device.constant(p.inputs.weights);
      down.ids = device.constant(p.inputs.ids);
    }
    if (!follows)
      down.progress = {};
    tokenRows = rowMap(gateUp.tokens, H, T, tokenBoxRows(gateUpConfig));
    gateWeights = fittedWeightMap(gateUpConfig, gateUp);
    downWeights = fittedWeightMap(downConfig, down);
    activatedRows = rowMap(activated, I, slots, kOutputBoxRows);
    activatedTokens = rowMap(activated, I, slots, tokenBoxRows(downConfig));
    outputRows = rowMap(output, H, slots, kOutputBoxRows);
  }

  /// As dispatch does.
  void clear() {
    run([&] {
      return launch(device, {.blocks = 1, .threads = 32}, seeds.next(), [&] {
        ptx::startNext();
        ptx::waitForPrevious();
        for (uint32_t i = threadIdx.x; i < numCounts; i += 32)
          counts[i] = 0;
      });
    });
  }
  void overlapped() {
    run([&] {
      return launchOverlapped(
          device, shape(gateUpConfig, gateUpBlocks), [&] { runGateUp(); }, shape(downConfig, downBlocks),
          [&] { runDown(); }, seeds.next());
    });
  }
  void oneAfterTheOther() {
    run([&] { return launch(device, shape(gateUpConfig, gateUpBlocks), seeds.next(), [&] { runGateUp(); }); });
    run([&] { return launch(device, shape(downConfig, downBlocks), seeds.next(), [&] { runDown(); }); });
  }
  void downAlone() {
    run([&] { return launch(device, shape(downConfig, downBlocks), seeds.next(), [&] { runDown(); }); });
  }

  /// Empty, or what is wrong.
  std::string check() const {
    if (failure)
      return failure->message;
    for (uint32_t row = 0; row < (Combines ? T : slots); ++row)
      for (uint32_t h = 0; h < H; ++h) {
        const double expected = Combines ? ofToken(row, h) : p.expected[row * H + h];
        if (const float got = bench::elementValue(output[row * H + h], true);
            !(std::abs(got - expected) <= 3.0 / 256 * (std::abs(expected) + 1)))
          return fmt::format("row {} column {}: {}, expected {}", row, h, got, expected);
      }
    return leavesCounters(counters, 2) ? "a tile counter is not left as zero" : "";
  }

private:
  static constexpr uint32_t gateUpBlocks = 4, downBlocks = 4, numCounts = numProgressCounts(tileTokens, E, pairs);

  static LaunchShape shape(const GemmConfig &config, uint32_t blocks) {
    return {.blocks = blocks,
            .threads = hopperThreads(config),
            .sharedBytes = hopperSharedBytes(config),
            .dynamicShared = unaligned,
            .unwrittenRows = true,
            .together = true,
            .clusterBlocks = config.clusterBlocks};
  }
  template <class Launch> void run(Launch launch) {
    if (!failure)
      failure = launch();
  }
  void runGateUp() const { groupedGemmFitted<gateUpConfig, SiluGate>(gateWeights, tokenRows, activatedRows, gateUp); }
  void runDown() const { groupedGemmFitted<downConfig, NoActivation>(downWeights, activatedTokens, outputRows, down); }

  double ofToken(uint32_t token, uint32_t h) const {
    const int32_t slot = p.slots.slotOfPair[token];
    return slot < 0 ? 0 : double{p.inputs.weights[token]} * p.expected[static_cast<size_t>(slot) * H + h];
  }

  static constexpr uint32_t K = Combines ? 1 : 2;
  const Problem &p = problem<K>();
  const bench::ReferenceTiles tiles = tilesOf<K>(gateUpConfig.tileTokens);
  const uint32_t T = p.T, slots = static_cast<uint32_t>(p.slots.slotPair.size());
  DeviceMemory device;
  Random seeds;
  std::optional<Failure> failure = {};
  uint16_t *activated = device.output(std::vector<uint16_t>(slots * I, 0x7fff)),
           *output = device.output(std::vector<uint16_t>(pairs * H, 0x7fff));
  uint32_t *counters = device.output(std::vector<uint32_t>(2 * kTileCounters)),
           *counts = device.output(std::vector<uint32_t>(numCounts, 77)); // what an earlier step has left
  GroupedGemmArgs gateUp{}, down{};
  TensorMap gateWeights{}, downWeights{}, tokenRows{}, activatedRows{}, activatedTokens{}, outputRows{};
};

template <uint32_t ClusterBlocks, bool Follows = true, bool Combines = false> std::string runOverlapped(uint64_t seed) {
  Products<ClusterBlocks, Combines> products(seed, Follows);
  products.clear();
  products.overlapped();
  return products.check();
}

static_assert(FittedRing<configOf(GemmRole::GateUp, 1, true)>::beginsNext);
static_assert(!FittedRing<configOf(GemmRole::GateUp, 2, false)>::beginsNext, "it tells what it has written");
static_assert(!FittedRing<configOf(GemmRole::Down, 1, true)>::beginsNext, "who follows would take its blocks' places");

template <bool Combines> std::string runNarrow(uint64_t seed) {
  Products<1, Combines, true> products(seed, false);
  products.overlapped();
  return products.check();
}

template <uint32_t ClusterBlocks> std::string runInTurn(uint64_t seed) {
  Products<ClusterBlocks> products(seed, true);
  products.clear();
  products.oneAfterTheOther();
  return products.check();
}

/// Behind dispatch itself, which lets it start before the counts are cleared.
std::string runDownBehindDispatch(uint64_t seed) {
  Products<1> products(seed, true);
  products.clear();
  products.downAlone();
  return products.check();
}

} // namespace

TEST_CASE("down begins with what gate-up has written, and gives what the reference does", "[emulation][overlap]") {
  REQUIRE(tilesOf<2>(tileTokens).head.severalTiles > 0);
  forSchedules(schedules, runOverlapped<1>);
  forSchedules(schedules, runOverlapped<2>);
}

TEST_CASE("down that combines begins with what gate-up has written as well", "[emulation][overlap]") {
  REQUIRE(tilesOf<1>(tileTokens).head.severalTiles > 0);
  forSchedules(schedules, runOverlapped<1, true, true>);
  forSchedules(schedules, runOverlapped<2, true, true>);
}

TEST_CASE("down that waits for the whole of gate-up does so where both overlap", "[emulation][overlap]") {
  forSchedules(5, runOverlapped<1, false>);
  forSchedules(5, runOverlapped<2, false>);
}

TEST_CASE("down in narrow tiles waits for the whole of gate-up, whenever it begins", "[emulation][overlap]") {
  forSchedules(schedules, runNarrow<false>);
  forSchedules(schedules, runNarrow<true>);
}

TEST_CASE("down finds all written where gate-up has ended", "[emulation][overlap]") {
  forSchedules(schedules, runInTurn<1>);
  forSchedules(schedules, runInTurn<2>);
}

TEST_CASE("what would let down read rows too early is caught", "[emulation][overlap]") {
  // Rows that the copy engine need not have seen count as NaN, for it may bring some that nobody uses.
  checkCaught({"counts that release nothing", wrongResult, {Bug::RelaxedAtomics}, runOverlapped<1>});
  checkCaught({"counts that release nothing, in pairs", wrongResult, {Bug::RelaxedAtomics}, runOverlapped<2>});
  checkCaught({"counts that release nothing, in turn", Fault::Order, {Bug::RelaxedAtomics}, runInTurn<1>});
  checkCaught({"counted before it is written", wrongResult, {Bug::BulkWaitReads}, runOverlapped<1>});
  checkCaught({"no fence.proxy.async.global", wrongResult, {Bug::SkipGlobalProxyFence}, runOverlapped<1>});
  checkCaught({"no fence.proxy.async.global, in pairs", wrongResult, {Bug::SkipGlobalProxyFence}, runOverlapped<2>});
  checkCaught({"narrow tiles that wait for nothing", Fault::Order, {Bug::NoWaitForPrevious}, runNarrow<false>});
  const Caught early = firstFailure({}, runDownBehindDispatch);
  INFO(early.message);
  CHECK(early.fault() == Fault::Order);
}
