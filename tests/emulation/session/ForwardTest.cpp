// A layer as a session queues it (runtime/device/cuda/Forward.cpp), on a driver whose launches run here: the arguments,
// maps and counters that the runtime makes, and the kernels that take them. Tiles are those that the planner takes.
#include "runtime/device/cuda/Forward.h"
#include "tests/unit/cuda/FakeCuda.h"

#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/dispatchCluster.cuh"
#include "compiler/kernels/groupedGemmFitted.cuh"
#include "compiler/kernels/route.cuh"
#include "compiler/kernels/routerLogits.cuh"
#include "compiler/kernels/routerLogitsSm90.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/kernels/LayerFixture.h"
#include "tests/emulation/session/EmulatedDriver.h"
#include "tests/emulation/session/FittedKernel.h"
#include "tests/emulation/session/HopperKernel.h"
#include "tests/emulation/session/TwoByteLayer.h"

#include <memory>

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr CudaTile wide{GemmFamily::Fitted, true, 192, 256, 4, 2, 1, 1},
    deep{GemmFamily::Fitted, true, 16, 64, 5, 1, 4, 1}, swapped{GemmFamily::Hopper, true, 16, 128, 6, 1, 1, 2};

//===-- The layer's kernels -------------------------------------------------------------------===//

/// What is particular about a layer.
enum class Kind {
  Plain,
  WeightOnInput,
  Joined,    // has a shared expert as one of the routed ones, scaled by its gate
  OneExpert, // a token: down combines
};

constexpr GemmConfig configOf(const CudaTile &tile, GemmRole role, Kind kind) {
  GemmConfig config = gemmConfigOf(tile, DType::BF16, role, false);
  config.weighted = kind == Kind::WeightOnInput && role == GemmRole::GateUp;
  config.combines = kind == Kind::OneExpert && role == GemmRole::Down;
  return config;
}

template <CudaTile Tile, GemmRole Role, Kind What> CudaProduct productOf(uint32_t k, uint32_t n) {
  static constexpr GemmConfig config = configOf(Tile, Role, What);
  static const Kernel kernel = [] {
    if constexpr (Tile.family == GemmFamily::Fitted)
      return fittedKernel<config>();
    else
      return hopperKernel<config>();
  }();
  return loadedProduct(kernel, Tile, config, k, n);
}

template <RouterGemmConfig C> void addRouter(std::vector<CudaRouter> &routers, uint32_t maxTokens) {
  const auto run = [](const RouterGemmArgs &args) {
    if constexpr (C.wgmma)
      routerLogitsSm90<C>(args);
    else
      routerLogits<C>(args);
  };
  routers.push_back({plainKernel<RouterGemmArgs>(routerThreads(C), run, routerSharedBytes(C)), maxTokens, C.tileTokens,
                     C.tileExperts});
}

template <CudaTile GateUp, CudaTile Down, Kind What> std::shared_ptr<const CudaKernels> kernelsOf() {
  static constexpr bool WeightOnInput = What == Kind::WeightOnInput;
  static constexpr DispatchConfig dispatch = What == Kind::Joined ? joinedDispatchConfig : dispatchConfig;
  auto kernels = std::make_shared<CudaKernels>();
  kernels->config.gateUp = GateUp;
  kernels->config.down = Down;
  addRouter<routerConfig>(kernels->router, T / 2); // the first step's
  addRouter<RouterGemmConfig{Element::BF16, 64, 64, true}>(kernels->router, UINT32_MAX);
  kernels->route = plainKernel<RouteArgs>(routeConfig.threads, [](const RouteArgs &args) { route<routeConfig>(args); });
  kernels->dispatchOneBlock =
      plainKernel<DispatchArgs>(dispatch.threads, [](const DispatchArgs &args) { dispatchOneBlock<dispatch>(args); });
  if (What != Kind::WeightOnInput) // as on a GPU without clusters
    kernels->dispatchCluster = plainKernel<DispatchArgs>(
        dispatch.threads, [](const DispatchArgs &args) { dispatchCluster<dispatch>(args); }, 0, kDispatchClusterBlocks);
  kernels->gateUp = productOf<GateUp, GemmRole::GateUp, What>(H, I);
  kernels->down = productOf<Down, GemmRole::Down, What>(I, H);
  static constexpr CombineConfig sum{
      .element = Element::BF16, .topK = K, .threads = combineConfig.threads, .weighted = !WeightOnInput};
  kernels->combine = plainKernel<CombineArgs>(sum.threads, [](const CombineArgs &args) { combine<sum>(args); });
  return kernels;
}

std::shared_ptr<const CudaWeights> weightsOf(emulation::DeviceMemory &memory, bool joined) {
  const LayerTestInputs &in = inputs();
  const std::vector<uint16_t> &gateThenUp = joined ? in.joinedGateThenUp : in.gateThenUp;
  auto weights = std::make_shared<CudaWeights>(weightsOn(memory, gateThenUp, joined ? in.joinedDown : in.layer.down));
  weights->router = addressOf(memory.constant(in.router));
  weights->sharedRouter = joined ? addressOf(memory.constant(in.sharedRouter)) : 0;
  return weights;
}

//===-- Steps ---------------------------------------------------------------------------------===//

template <CudaTile GateUp, CudaTile Down, Kind What = Kind::Plain> std::string runLayer(uint64_t seed) {
  static constexpr bool joined = What == Kind::Joined, weightOnInput = What == Kind::WeightOnInput;
  const auto fill = [](emulation::DeviceMemory &memory, CudaLayer &layer) {
    layer.shape = {.hidden = H,
                   .intermediate = I,
                   .experts = E,
                   .topK = K,
                   .dtype = DType::BF16,
                   .sharedIntermediate = joined ? I : 0,
                   .sharedGate = joined,
                   .sharedAlike = joined,
                   .weightOnInput = weightOnInput};
    layer.router.epsilon = 0;
    layer.router.scale = 1;
    layer.kernels = kernelsOf<GateUp, Down, What>();
    layer.weights = weightsOf(memory, joined);
    return std::optional<RoutingView>();
  };
  return runSteps(seed, inputs().layer.hidden, T, fill, [](const CudaWorkspace &space, const uint16_t *output) {
    return checkLayer(space.logits, cudaLogitStride({.experts = E}), space.ids, space.weights, output, weightOnInput,
                      joined);
  });
}

/// Tokens of one expert, some of none; half of them are a pair a lane, all are not.
const bench::LayerInputs &oneExpert() {
  static const bench::LayerInputs made = [] {
    constexpr uint32_t tokens = 40;
    static_assert(tokens / 2 <= kFewPairs && tokens > kFewPairs);
    std::mt19937_64 random(29);
    bench::LayerInputs in = inputs().layer;
    in.shape = {tokens, H, I, E, 1};
    in.hidden = bench::drawElements(size_t{tokens} * H, 1, true, random);
    in.ids.clear();
    for (uint32_t t = 0; t < tokens; ++t) {
      in.ids.push_back(static_cast<int32_t>(t % 9 == 4 ? E : t % 2 ? 5 : t % E));
      in.weights.push_back(static_cast<float>(t % 7 + 1) / 8);
    }
    in.ids[3] = -1;
    return in;
  }();
  return made;
}

template <CudaTile GateUp, CudaTile Down> std::string runOneExpert(uint64_t seed) {
  const bench::LayerInputs &in = oneExpert();
  const auto fill = [&](emulation::DeviceMemory &memory, CudaLayer &layer) {
    layer.shape = {.hidden = H, .intermediate = I, .experts = E, .topK = 1, .dtype = DType::BF16};
    layer.kernels = kernelsOf<GateUp, Down, Kind::OneExpert>();
    layer.weights = weightsOf(memory, false);
    return std::optional(RoutingView{memory.constant(in.ids), memory.constant(in.weights)});
  };
  return runSteps(seed, in.hidden, in.shape.tokens, fill, [&](const CudaWorkspace &, const uint16_t *output) {
    static const bench::ReferenceLayer expected =
        bench::referenceLayer(in, bench::referenceSlots(in.ids, E)); // zeros of tokens without an expert
    return outputDifference(expected, output, H);
  });
}

} // namespace

TEST_CASE("a session's forward lets down combine where tokens have one expert", "[emulation][session]") {
  forSchedules(kSessionSchedules, runOneExpert<wide, wide>);
  forSchedules(kSessionSchedules, runOneExpert<deep, deep>);
}

TEST_CASE("a session's forward on fitted tiles gives the reference's output", "[emulation][session]") {
  forSchedules(kSessionSchedules, runLayer<wide, wide>);
  forSchedules(kSessionSchedules, runLayer<deep, deep>);
}

TEST_CASE("a session's forward on a fitted and a Hopper tile gives the reference's output", "[emulation][session]") {
  forSchedules(kSessionSchedules, runLayer<deep, swapped>);
  forSchedules(kSessionSchedules, runLayer<swapped, deep>);
}

TEST_CASE("a session's forward hands gate-up the weights that are on its input", "[emulation][session]") {
  forSchedules(kSessionSchedules, runLayer<deep, wide, Kind::WeightOnInput>);
  forSchedules(kSessionSchedules, runLayer<wide, wide, Kind::WeightOnInput>);
  forSchedules(kSessionSchedules, runLayer<swapped, deep, Kind::WeightOnInput>);
  forSchedules(kSessionSchedules, runLayer<deep, deep, Kind::WeightOnInput>);
}

TEST_CASE("a session's forward computes a shared expert that joins the routed ones", "[emulation][session]") {
  forSchedules(kSessionSchedules, runLayer<deep, wide, Kind::Joined>);
  forSchedules(kSessionSchedules, runLayer<wide, wide, Kind::Joined>);
  forSchedules(kSessionSchedules, runLayer<swapped, deep, Kind::Joined>);
  forSchedules(kSessionSchedules, runLayer<deep, deep, Kind::Joined>);
}
