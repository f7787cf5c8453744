// A whole layer, launch after launch, as a runtime queues it: each kernel reads what the ones before have left.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/groupedGemmPortable.cuh"
#include "compiler/kernels/groupedGemmSm90.cuh"
#include "compiler/kernels/route.cuh"
#include "compiler/kernels/routerLogits.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/machine/TensorMap.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>

using namespace moec;
using namespace moec::emulation;

namespace {

// One token has a hidden state of NaN: none of its logits is finite, and its output stays its own.
constexpr uint32_t T = 21, H = 136, I = 72, E = 8, K = 2, nanToken = 4;

constexpr GemmConfig gemmConfig(GemmRole role, bool hopper) {
  return {.element = Element::BF16,
          .role = role,
          .tileTokens = 16,
          .tileWeights = hopper ? 128u : 64u,
          .tileK = 64,
          .stages = 3,
          .warpsTokens = 1,
          .warpsWeights = hopper ? 1u : 2u,
          .swapAB = hopper,
          .blocksPerSm = 1,
          .dense = false};
}
constexpr RouterGemmConfig routerConfig{.element = Element::BF16, .tileTokens = 16, .tileExperts = 8};
constexpr RouteConfig routeConfig{.experts = E,
                                  .topK = K,
                                  .before = RouteScoring::Softmax,
                                  .after = RouteScoring::None,
                                  .correctionBias = false,
                                  .renormalise = true,
                                  .groups = 1,
                                  .groupsPicked = 1,
                                  .groupTop = 1,
                                  .threads = 64};
constexpr DispatchConfig dispatchConfig{.experts = E, .threads = 64, .pairsPerBlock = 64};
constexpr CombineConfig combineConfig{.element = Element::BF16, .topK = K, .threads = 64};

struct Inputs {
  bench::LayerInputs layer;
  std::vector<uint16_t> router;
};

const Inputs &inputs() {
  static const Inputs made = [] {
    std::mt19937_64 random(17);
    const auto draw = [&](size_t count, double scale) { return bench::drawElements(count, scale, true, random); };
    Inputs in;
    in.layer.shape = {T, H, I, E, K};
    in.layer.bf16 = true;
    in.layer.hidden = draw(T * H, 1);
    std::fill_n(in.layer.hidden.begin() + nanToken * H, H, uint16_t{0x7fff});
    in.layer.gate = draw(E * I * H, 1 / std::sqrt(H));
    in.layer.up = draw(E * I * H, 1 / std::sqrt(H));
    in.layer.down = draw(E * H * I, 1 / std::sqrt(I));
    in.router = draw(E * H, 1 / std::sqrt(H));
    return in;
  }();
  return made;
}

/// The buffers of one run, and its launches in order; the first failure ends it.
template <bool Hopper> struct Layer {
  DeviceMemory device;
  Random seeds;
  std::optional<Failure> failure = {};
  const uint16_t *hidden = device.input(inputs().layer.hidden), *router = device.constant(inputs().router);
  const uint16_t *gate = device.constant(inputs().layer.gate), *up = device.constant(inputs().layer.up);
  const uint16_t *down = device.constant(inputs().layer.down);
  float *logits = device.output<float>(T * E), *weights = device.output<float>(T * K);
  int32_t *ids = device.output<int32_t>(T * K);
  uint32_t *numNonFinite = device.output(std::vector<uint32_t>{0});
  int32_t *counts = device.output<int32_t>(E), *expertBegin = device.output<int32_t>(E + 1);
  int32_t *tileBegin = device.output<int32_t>(E + 1), *tilePlace = device.output<int32_t>(T * K / 16 + E);
  int32_t *slotPair = device.output<int32_t>(T * K), *slotOfPair = device.output<int32_t>(T * K);
  uint16_t *activated = device.output<uint16_t>(T * K * I), *expertOutput = device.output<uint16_t>(T * K * H);
  uint16_t *output = device.output<uint16_t>(T * H);

  explicit Layer(uint64_t seed) : seeds(seed) {}

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
    run({.blocks = 2, .threads = routerThreads()}, [&] { routerLogits<routerConfig>(product); });
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

  void dispatch() {
    DispatchArgs args{};
    args.ids = ids;
    args.counts = counts;
    args.expertBegin = expertBegin;
    args.tileBegin = tileBegin;
    args.tilePlace = tilePlace;
    args.slotPair = slotPair;
    args.slotOfPair = slotOfPair;
    args.numPairs = T * K;
    args.tileTokens = 16;
    run({.blocks = 1, .threads = dispatchConfig.threads}, [&] { dispatchOneBlock<dispatchConfig>(args); });
  }

  template <GemmRole Role, class Activation>
  void gemm(const void *tokens, const uint16_t *first, const uint16_t *second, void *to, uint32_t k, uint32_t n) {
    GroupedGemmArgs args{};
    args.tokens = tokens;
    args.weights = first;
    args.upWeights = second;
    args.output = to;
    args.slotPair = slotPair;
    args.expertBegin = expertBegin;
    args.expertEnd = expertBegin + 1;
    args.tileBegin = tileBegin;
    args.tilePlace = tilePlace;
    args.expertStride = int64_t{k} * n;
    args.k = k;
    args.n = n;
    args.topK = K;
    args.numExperts = E;
    constexpr GemmConfig c = gemmConfig(Role, Hopper);
    if constexpr (Hopper) {
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
    args.weights = weights;
    args.output = output;
    args.numTokens = T;
    args.hidden = H;
    run({.blocks = 2, .threads = combineConfig.threads}, [&] { combine<combineConfig>(args); });
  }

  /// The choices are checked against the logits, the output against the choices.
  std::string check() const {
    bench::LayerInputs layer = inputs().layer;
    layer.ids.assign(ids, ids + T * K);
    layer.weights.assign(weights, weights + T * K);
    for (uint32_t t = 0; t < T; ++t) {
      const bench::ReferenceRoute expected = bench::referenceRoute(routeConfig, logits + t * E, nullptr, 0, 1);
      for (uint32_t k = 0; k < K; ++k)
        if (layer.ids[t * K + k] != expected.ids[k])
          return fmt::format("token {} goes to expert {}, expected {}", t, layer.ids[t * K + k], expected.ids[k]);
    }
    std::fill_n(layer.hidden.begin() + nanToken * H, H, uint16_t{0}); // the reference is not asked about NaN
    const bench::ReferenceLayer reference = bench::referenceLayer(layer, bench::referenceSlots(layer.ids, E));
    double squares = 0;
    for (double value : reference.output)
      squares += value * value;
    const double rms = std::sqrt(squares / static_cast<double>(reference.output.size()));
    for (uint32_t i = 0; i < T * H; ++i) {
      const float got = bench::elementValue(output[i], true);
      if (i / H == nanToken ? !std::isnan(got)
                            : !(std::abs(got - reference.output[i]) <= 4.0 / 256 * (std::abs(reference.output[i]) + rms)))
        return fmt::format("token {} column {}: {}, expected {}", i / H, i % H, got, reference.output[i]);
    }
    return *numNonFinite == E ? "" : fmt::format("{} logits were not finite", *numNonFinite);
  }
};

template <bool Hopper> std::string runLayer(uint64_t seed) {
  Layer<Hopper> layer(seed);
  layer.routeTokens();
  layer.dispatch();
  layer.template gemm<GemmRole::GateUp, SiluGate>(layer.hidden, layer.gate, layer.up, layer.activated, H, I);
  layer.template gemm<GemmRole::Down, NoActivation>(layer.activated, layer.down, layer.down, layer.expertOutput, I, H);
  layer.combineRows();
  return layer.failure ? layer.failure->message : layer.check();
}

} // namespace

TEST_CASE("a layer of emulated kernels gives the reference's output, portable", "[emulation][layer]") {
  forSchedules(kSchedules, runLayer<false>);
}

TEST_CASE("a layer of emulated kernels gives the reference's output, Hopper", "[emulation][layer]") {
  forSchedules(kSchedules, runLayer<true>);
}
