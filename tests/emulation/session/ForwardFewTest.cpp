// A layer whose steps of one and two tokens have one launch in place of down and combine, as a session queues it
// (ForwardTest.cpp): the map of the weights, the ring and the arguments are the runtime's.
#include "runtime/device/cuda/Forward.h"
#include "tests/unit/cuda/FakeCuda.h"

#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/downFew.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/session/EmulatedDriver.h"
#include "tests/emulation/session/FittedKernel.h"
#include "tests/emulation/session/TwoByteLayer.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr CudaTile wide{GemmFamily::Fitted, true, 192, 256, 4, 2, 1, 1},
    deep{GemmFamily::Fitted, true, 16, 64, 5, 1, 4, 1};

// Pairs are a lane's in half of the tokens, not in all.
constexpr bench::Shape shape{.tokens = 12, .hidden = 48, .intermediate = 320, .experts = 8, .topK = 4};
static_assert(shape.tokens / 2 * shape.topK <= kFewPairs && shape.tokens * shape.topK > kFewPairs);

/// The first token has a pair that is padding.
const bench::LayerInputs &inputs() {
  static const bench::LayerInputs made = [] {
    std::mt19937_64 random(31);
    const auto draw = [&](size_t count, double scale) { return bench::drawElements(count, scale, true, random); };
    bench::LayerInputs in{.shape = shape, .bf16 = true};
    const size_t matrix = size_t{shape.experts} * shape.hidden * shape.intermediate;
    in.hidden = draw(size_t{shape.tokens} * shape.hidden, 1);
    in.gate = draw(matrix, 0.1), in.up = draw(matrix, 0.1), in.down = draw(matrix, 0.1);
    in.ids = bench::drawIds(shape.tokens, shape.experts, shape.topK, 0.7, random);
    in.weights = bench::drawWeights(shape.tokens, shape.topK, random);
    in.ids[1] = -1;
    return in;
  }();
  return made;
}

template <CudaTile Tile, GemmRole Role> CudaProduct productOf(uint32_t k, uint32_t n) {
  static constexpr GemmConfig config = gemmConfigOf(Tile, DType::BF16, Role, false);
  static const Kernel kernel = fittedKernel<config>();
  return loadedProduct(kernel, Tile, config, k, n);
}

template <CudaTile Tile> std::shared_ptr<const CudaKernels> kernelsOf() {
  static constexpr DispatchConfig dispatch{.experts = shape.experts, .threads = 64, .pairsPerBlock = 64};
  static constexpr DownFewConfig few{.element = Element::BF16, .topK = shape.topK};
  static constexpr CombineConfig sum{.element = Element::BF16, .topK = shape.topK, .threads = 64};
  auto kernels = std::make_shared<CudaKernels>();
  kernels->config.gateUp = kernels->config.down = Tile;
  kernels->dispatchOneBlock =
      plainKernel<DispatchArgs>(dispatch.threads, [](const DispatchArgs &args) { dispatchOneBlock<dispatch>(args); });
  kernels->gateUp = productOf<Tile, GemmRole::GateUp>(shape.hidden, shape.intermediate);
  kernels->down = productOf<Tile, GemmRole::Down>(shape.intermediate, shape.hidden);
  kernels->downFew = downFewKernel<DownFewArgs>(
      GemmFamily::Fitted, [](const TensorMap &weights, const DownFewArgs &args) { downFew<few>(weights, args); });
  kernels->combine = plainKernel<CombineArgs>(sum.threads, [](const CombineArgs &args) { combine<sum>(args); });
  return kernels;
}

template <CudaTile Tile> std::string runLayer(uint64_t seed) {
  const bench::LayerInputs &in = inputs();
  const auto fill = [&](emulation::DeviceMemory &memory, CudaLayer &layer) {
    layer.shape = {.hidden = shape.hidden,
                   .intermediate = shape.intermediate,
                   .experts = shape.experts,
                   .topK = shape.topK,
                   .dtype = DType::BF16};
    layer.kernels = kernelsOf<Tile>();
    std::vector<uint16_t> gateThenUp = in.gate;
    gateThenUp.insert(gateThenUp.end(), in.up.begin(), in.up.end());
    layer.weights = std::make_shared<CudaWeights>(weightsOn(memory, gateThenUp, in.down));
    return std::optional(RoutingView{memory.constant(in.ids), memory.constant(in.weights)});
  };
  return runSteps(seed, in.hidden, shape.tokens, fill, [&](const CudaWorkspace &, const uint16_t *output) {
    static const bench::ReferenceLayer expected =
        bench::referenceLayer(in, bench::referenceSlots(in.ids, shape.experts));
    return outputDifference(expected, output, shape.hidden);
  });
}

} // namespace

TEST_CASE("a session's forward has the bits of more tokens where one launch takes down's and combine's place",
          "[emulation][session]") {
  forSchedules(kSessionSchedules, runLayer<deep>);
  forSchedules(kSessionSchedules, runLayer<wide>);
}
