// Layers of e4m3 weights whose steps of few tokens have one launch in place of quantising and gate-up: before one that
// is down and combine (ForwardFewFp8Test.cpp), and before products that quantise their rows.
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
#include "tests/emulation/kernels/JoinedSlots.h"
#include "tests/emulation/session/EmulatedDriver.h"
#include "tests/emulation/session/Fp8Kernel.h"
#include "tests/emulation/session/GateUpFewKernel.h"

#include <cmath>

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr CudaTile few{GemmFamily::Fp8, true, 16, 64, 5, 1, 2, 2}, // which quantises few rows itself
    deep{GemmFamily::Fp8, true, 16, 64, 5, 1, 4, 1},
    whole{GemmFamily::Fp8, true, 16, 256, 6, 2, 1, 1}, // whose gate-up quantises what it gives
    wide{GemmFamily::Fp8, true, 192, 128, 5, 2, 1, 1};

/// A joined shared expert is of the routed ones' size.
struct Case {
  bench::Shape shape;
  bool joined = false;
};
// Pairs are a lane's in half of the tokens, not in all.
constexpr Case both{{.tokens = 12, .hidden = 128, .intermediate = 128, .experts = 8, .topK = 4}},
    alone{{.tokens = 18,
           .hidden = 384,
           .intermediate = 48,
           .experts = 5,
           .topK = 2}}, // of whose sums downFewFp8 has no whole blocks
    joined{alone.shape, true}, one{{.tokens = 10, .hidden = 128, .intermediate = 128, .experts = 4, .topK = 1}};

/// The first token has a pair that is padding, and the third a NaN in its hidden state.
struct Inputs {
  std::vector<uint16_t> hidden;
  std::vector<int32_t> ids;
  std::vector<float> pairWeights;
  bench::Fp8Weights gate, up, down; // a joined expert's first
  std::vector<double> output;       // expected
};

/// What comes of the inputs. (Here and there a row's element is rounded to another e4m3 than the layer's.)
std::vector<double> expectedOf(const Case &layer, const Inputs &in) {
  const auto &[tokens, hidden, intermediate, experts, topK] = layer.shape;
  const bench::ReferenceSlots routed = bench::referenceSlots(in.ids, experts),
                              slots = layer.joined ? joinedSlots(routed, tokens, topK) : routed;
  const bench::Fp8Rows rows = bench::gatherRows(bench::quantiseRows(in.hidden, hidden, true), slots.slotPair, topK);
  const std::vector<double> activated = bench::referenceFp8Activated(rows, in.gate, in.up, slots.expertBegin);
  const bench::Fp8Rows middle = bench::quantiseRows(
      bench::splitIntoPlanes(std::vector<float>(activated.begin(), activated.end()), 1, true), intermediate, true);
  std::vector<double> output = bench::referenceFp8Combined(middle, in.down, slots, in.pairWeights, topK);
  if (layer.joined) { // whose rows come first, token by token
    const std::vector<double> products = bench::referenceFp8Product(middle, in.down, slots.expertBegin);
    for (size_t i = 0; i < output.size(); ++i)
      output[i] += products[i];
  }
  return output;
}

Inputs makeInputs(const Case &layer) {
  const auto &[T, H, I, E, K] = layer.shape;
  const uint32_t grouped = E + (layer.joined ? 1 : 0);
  std::mt19937_64 random(41);
  Inputs in;
  in.hidden = bench::drawElements(size_t{T} * H, 1, true, random);
  in.hidden[2 * H + 101] = 0x7fc0;
  in.ids = bench::drawIds(T, E, K, 0.7, random);
  in.ids[1] = -1;
  in.pairWeights = bench::drawWeights(T, K, random);
  in.gate = bench::drawFp8Weights(grouped, I, H, 1 / std::sqrt(H), random);
  in.up = bench::drawFp8Weights(grouped, I, H, 1 / std::sqrt(H), random);
  in.down = bench::drawFp8Weights(grouped, H, I, 1 / std::sqrt(I), random);
  in.output = expectedOf(layer, in);
  return in;
}

template <Case C> CudaKernel downFewFp8Kernel() {
  static constexpr DownFewConfig config{
      .element = Element::BF16, .topK = C.shape.topK, .groups = downFewFp8Groups(C.shape.topK, C.shape.hidden)};
  return downFewKernel<DownFewFp8Args>(
      GemmFamily::Fp8, [](const TensorMap &weights, const DownFewFp8Args &args) { downFewFp8<config>(weights, args); });
}

template <Case C, CudaTile GateUp, CudaTile Down>
std::shared_ptr<const CudaKernels> kernelsOf(const LayerShape &shape) {
  static constexpr DispatchConfig dispatch{
      .experts = C.shape.experts, .threads = 64, .pairsPerBlock = 64, .joined = C.joined};
  static constexpr QuantiseConfig toE4M3{.element = Element::BF16, .threads = 256, .joined = C.joined};
  static constexpr CombineConfig sum{.element = Element::BF16, .topK = C.shape.topK, .threads = 64};
  auto kernels = std::make_shared<CudaKernels>();
  kernels->config.gateUp = GateUp;
  kernels->config.down = Down;
  kernels->dispatchOneBlock =
      plainKernel<DispatchArgs>(dispatch.threads, [](const DispatchArgs &args) { dispatchOneBlock<dispatch>(args); });
  kernels->gateUp = fp8Product<GateUp, GemmRole::GateUp>(C.shape.hidden, C.shape.intermediate);
  kernels->down = fp8Product<Down, GemmRole::Down>(C.shape.intermediate, C.shape.hidden);
  kernels->quantise =
      plainKernel<QuantiseArgs>(toE4M3.threads, [](const QuantiseArgs &args) { quantise<toE4M3>(args); });
  kernels->combine = plainKernel<CombineArgs>(sum.threads, [](const CombineArgs &args) { combine<sum>(args); });
  REQUIRE(hasGateUpFew(shape, GateUp, Down));
  kernels->gateUpFew = gateUpFewKernel();
  if constexpr (fitsDownFewFp8(C.shape.topK, C.shape.intermediate, C.shape.hidden) && !C.joined)
    kernels->downFew = downFewFp8Kernel<C>();
  REQUIRE(hasDownFew(shape, GateUp.family, Down.family) == kernels->downFew.has_value());
  return kernels;
}

template <Case C, CudaTile GateUp, CudaTile Down> std::string runLayer(uint64_t seed) {
  static const Inputs in = makeInputs(C);
  const auto fill = [&](emulation::DeviceMemory &memory, CudaLayer &layer) {
    layer.shape = {.hidden = C.shape.hidden,
                   .intermediate = C.shape.intermediate,
                   .experts = C.shape.experts,
                   .topK = C.shape.topK,
                   .dtype = DType::BF16,
                   .sharedIntermediate = C.joined ? C.shape.intermediate : 0,
                   .sharedAlike = C.joined,
                   .expertFormat = WeightFormat::BlockE4M3};
    layer.kernels = kernelsOf<C, GateUp, Down>(layer.shape);
    layer.weights = std::make_shared<CudaWeights>(weightsOn(memory, in.gate, in.up, in.down));
    return std::optional(RoutingView{memory.input(in.ids), memory.input(in.pairWeights)});
  };
  return runSteps(seed, in.hidden, C.shape.tokens, fill, [&](const CudaWorkspace &, const uint16_t *output) {
    return compareRows("output", in.output, output, 4.0 / 256);
  });
}

} // namespace

TEST_CASE("a session's forward of e4m3 has the bits of more tokens where two launches do all behind routing",
          "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<both, few, few>);
  forSchedules(kSessionSchedules, runLayer<both, deep, few>);
  forSchedules(kSessionSchedules, runLayer<both, whole, deep>); // whose rows down has quantised in other steps
  forSchedules(kSessionSchedules, runLayer<both, wide, wide>);
  forSchedules(kSessionSchedules, runLayer<one, few, few>);
}

TEST_CASE("a session's forward of e4m3 has the bits of more tokens where one launch takes gate-up's place, and down "
          "quantises its rows",
          "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<alone, few, few>);
  forSchedules(kSessionSchedules, runLayer<joined, few, few>);
}
