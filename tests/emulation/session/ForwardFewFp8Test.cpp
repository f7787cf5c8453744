// A layer of e4m3 weights whose steps of few tokens have one launch in place of down and combine (ForwardFewTest.cpp),
// of rows that gate-up gives quantised and of those that it rounds.
#include "runtime/device/cuda/Forward.h"
#include "tests/unit/cuda/FakeCuda.h"

#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/downFewFp8.cuh"
#include "compiler/kernels/groupedGemmFp8.cuh"
#include "compiler/kernels/quantise.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/kernels/CompareRows.h"
#include "tests/emulation/session/EmulatedDriver.h"
#include "tests/emulation/session/Fp8Kernel.h"

#include <cmath>

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr CudaTile few{GemmFamily::Fp8, true, 16, 64, 5, 1, 2, 2}, // which quantises few rows itself
    deep{GemmFamily::Fp8, true, 16, 64, 5, 1, 4, 1},
    whole{GemmFamily::Fp8, true, 16, 256, 6, 2, 1, 1}, // whose gate-up quantises what it gives
    wide{GemmFamily::Fp8, true, 192, 128, 5, 2, 1, 1},
    inTokens{GemmFamily::Fp8, false, 128, 256, 4, 2, 1, 1}; // likewise

// Pairs are a lane's in half of the tokens, not in all.
constexpr bench::Shape shape{.tokens = 12, .hidden = 48, .intermediate = 384, .experts = 8, .topK = 4};
static_assert(shape.tokens / 2 * shape.topK <= kFewPairs && shape.tokens * shape.topK > kFewPairs);
static_assert(shape.tokens / 2 > kDownFewFp8Tokens);
// One expert a token, of which a block has several groups of columns.
constexpr bench::Shape one{
    .tokens = 10, .hidden = kDownFewFp8LeastBlocks * 32, .intermediate = 128, .experts = 4, .topK = 1};
static_assert(one.tokens / 2 > kDownFewFp8Tokens && downFewFp8Groups(one.topK, one.hidden) == 2);

/// The second pair is padding.
struct Inputs {
  std::vector<uint16_t> hidden;
  std::vector<int32_t> ids;
  std::vector<float> pairWeights;
  bench::Fp8Weights gate, up, down;
  std::vector<double> output; // expected
};

/// What comes of the inputs. (Here and there a row's element is rounded to another e4m3 than the layer's.)
std::vector<double> expectedOf(const bench::Shape &of, const Inputs &in) {
  const bench::ReferenceSlots slots = bench::referenceSlots(in.ids, of.experts);
  const bench::Fp8Rows rows =
      bench::gatherRows(bench::quantiseRows(in.hidden, of.hidden, true), slots.slotPair, of.topK);
  const std::vector<double> activated = bench::referenceFp8Activated(rows, in.gate, in.up, slots.expertBegin);
  const std::vector<uint16_t> rounded =
      bench::splitIntoPlanes(std::vector<float>(activated.begin(), activated.end()), 1, true);
  return bench::referenceFp8Combined(bench::quantiseRows(rounded, of.intermediate, true), in.down, slots,
                                     in.pairWeights, of.topK);
}

template <const bench::Shape &S> const Inputs &inputs() {
  static const Inputs made = [] {
    constexpr uint32_t T = S.tokens, H = S.hidden, I = S.intermediate, E = S.experts;
    std::mt19937_64 random(37);
    Inputs in;
    in.hidden = bench::drawElements(size_t{T} * H, 1, true, random);
    in.ids = bench::drawIds(T, E, S.topK, 0.7, random);
    in.ids[1] = -1;
    in.pairWeights = bench::drawWeights(T, S.topK, random);
    in.gate = bench::drawFp8Weights(E, I, H, 1 / std::sqrt(H), random);
    in.up = bench::drawFp8Weights(E, I, H, 1 / std::sqrt(H), random);
    in.down = bench::drawFp8Weights(E, H, I, 1 / std::sqrt(I), random);
    in.output = expectedOf(S, in);
    return in;
  }();
  return made;
}

template <const bench::Shape &S, CudaTile GateUp, CudaTile Down> std::shared_ptr<const CudaKernels> kernelsOf() {
  static constexpr DispatchConfig dispatch{.experts = S.experts, .threads = 64, .pairsPerBlock = 64};
  static constexpr QuantiseConfig toE4M3{.element = Element::BF16, .threads = 64};
  static constexpr DownFewConfig fewConfig{
      .element = Element::BF16, .topK = S.topK, .groups = downFewFp8Groups(S.topK, S.hidden)};
  static constexpr CombineConfig sum{.element = Element::BF16, .topK = S.topK, .threads = 64};
  auto kernels = std::make_shared<CudaKernels>();
  kernels->config.gateUp = GateUp;
  kernels->config.down = Down;
  kernels->dispatchOneBlock =
      plainKernel<DispatchArgs>(dispatch.threads, [](const DispatchArgs &args) { dispatchOneBlock<dispatch>(args); });
  kernels->gateUp = fp8Product<GateUp, GemmRole::GateUp>(S.hidden, S.intermediate);
  kernels->down = fp8Product<Down, GemmRole::Down, downCombines(S.topK, false, Down.family)>(S.intermediate, S.hidden);
  kernels->downFew =
      downFewKernel<DownFewFp8Args>(GemmFamily::Fp8, [](const TensorMap &weights, const DownFewFp8Args &args) {
        downFewFp8<fewConfig>(weights, args);
      });
  kernels->quantise =
      plainKernel<QuantiseArgs>(toE4M3.threads, [](const QuantiseArgs &args) { quantise<toE4M3>(args); });
  kernels->combine = plainKernel<CombineArgs>(sum.threads, [](const CombineArgs &args) { combine<sum>(args); });
  return kernels;
}

template <CudaTile GateUp, CudaTile Down, const bench::Shape &S = shape> std::string runLayer(uint64_t seed) {
  const Inputs &in = inputs<S>();
  const auto fill = [&](emulation::DeviceMemory &memory, CudaLayer &layer) {
    layer.shape = {.hidden = S.hidden,
                   .intermediate = S.intermediate,
                   .experts = S.experts,
                   .topK = S.topK,
                   .dtype = DType::BF16,
                   .expertFormat = WeightFormat::BlockE4M3};
    layer.kernels = kernelsOf<S, GateUp, Down>();
    layer.weights = std::make_shared<CudaWeights>(weightsOn(memory, in.gate, in.up, in.down));
    return std::optional(RoutingView{memory.input(in.ids), memory.input(in.pairWeights)});
  };
  return runSteps(seed, in.hidden, S.tokens, fill, [&](const CudaWorkspace &, const uint16_t *output) {
    return compareRows("output", in.output, output, 4.0 / 256);
  });
}

} // namespace

TEST_CASE("a session's forward of e4m3 has the bits of more tokens where one launch takes down's and combine's place",
          "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<few, few>);
  forSchedules(kSessionSchedules, runLayer<deep, few>);
  forSchedules(kSessionSchedules, runLayer<whole, deep>);
}

TEST_CASE("a session's forward of e4m3 with one expert a token does, too", "[emulation][session][fp8]") {
  constexpr uint32_t schedules = 5; // (each takes as long as five of the others)
  forSchedules(schedules, runLayer<few, few, one>);
  forSchedules(schedules, runLayer<whole, whole, one>);
}

TEST_CASE("a session's forward on wide e4m3 tiles does, too", "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<wide, wide>);
  forSchedules(kSessionSchedules, runLayer<inTokens, inTokens>);
}
