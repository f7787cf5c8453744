// A layer of e4m3 weights as a session queues it (ForwardTest.cpp): quantising, scales and maps are the runtime's.
#include "runtime/device/cuda/Forward.h"
#include "tests/unit/cuda/FakeCuda.h"

#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/groupedGemmFp8.cuh"
#include "compiler/kernels/quantise.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/kernels/GemmFp8Fixture.h"
#include "tests/emulation/kernels/LayerFp8Fixture.h"
#include "tests/emulation/session/EmulatedDriver.h"
#include "tests/emulation/session/Fp8Kernel.h"
#include "tests/emulation/session/HopperKernel.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr CudaTile few{GemmFamily::Fp8, true, 16, 64, 5, 1, 2, 2}, deep{GemmFamily::Fp8, true, 16, 64, 5, 1, 4, 1},
    whole{GemmFamily::Fp8, true, 16, 256, 6, 2, 1, 1},    // whose gate-up quantises
    dense{GemmFamily::Hopper, true, 16, 128, 6, 1, 1, 2}, // of a shared expert
    wide{GemmFamily::Fp8, true, 192, 128, 5, 2, 1, 1},
    inTokens{GemmFamily::Fp8, false, 128, 256, 4, 2, 1, 1}; // likewise

template <GemmRole Role> CudaProduct sharedProductOf(uint32_t k, uint32_t n) {
  static constexpr GemmConfig config = gemmConfigOf(dense, DType::BF16, Role, true);
  static const Kernel kernel = hopperKernel<config>();
  return loadedProduct(kernel, dense, config, k, n);
}

template <CudaTile GateUp, CudaTile Down, SharedKind Shared> std::shared_ptr<const CudaKernels> kernelsOf() {
  static constexpr DispatchConfig dispatch = Shared == SharedKind::Joined ? joinedDispatchConfig : dispatchConfig;
  static constexpr QuantiseConfig toE4M3 = Shared == SharedKind::Joined ? joinedQuantiseConfig : quantiseConfig;
  auto kernels = std::make_shared<CudaKernels>();
  kernels->dispatchOneBlock =
      plainKernel<DispatchArgs>(dispatch.threads, [](const DispatchArgs &args) { dispatchOneBlock<dispatch>(args); });
  kernels->config.gateUp = GateUp;
  kernels->config.down = Down;
  kernels->gateUp = fp8Product<GateUp, GemmRole::GateUp>(H, I);
  kernels->down = fp8Product<Down, GemmRole::Down>(I, H);
  kernels->quantise =
      plainKernel<QuantiseArgs>(toE4M3.threads, [](const QuantiseArgs &args) { quantise<toE4M3>(args); });
  kernels->combine =
      plainKernel<CombineArgs>(combineConfig.threads, [](const CombineArgs &args) { combine<combineConfig>(args); });
  if (Shared == SharedKind::TwoByte) {
    kernels->sharedGateUp = sharedProductOf<GemmRole::GateUp>(H, Is);
    kernels->sharedDown = sharedProductOf<GemmRole::Down>(Is, H);
  }
  return kernels;
}

std::shared_ptr<const CudaWeights> weightsOf(emulation::DeviceMemory &memory, bool joined) {
  const LayerFp8Inputs &in = inputs();
  auto weights = std::make_shared<CudaWeights>(joined ? weightsOn(memory, in.joinedGate, in.joinedUp, in.joinedDown)
                                                      : weightsOn(memory, in.gate, in.up, in.down));
  weights->sharedGate = addressOf(memory.constant(in.sharedGate));
  weights->sharedUp = addressOf(memory.constant(in.sharedUp));
  weights->sharedDown = addressOf(memory.constant(in.sharedDown));
  return weights;
}

template <CudaTile GateUp, CudaTile Down, SharedKind Shared = SharedKind::None> std::string runLayer(uint64_t seed) {
  const auto fill = [](emulation::DeviceMemory &memory, CudaLayer &layer) {
    layer.shape = {.hidden = H,
                   .intermediate = I,
                   .experts = E,
                   .topK = K,
                   .dtype = DType::BF16,
                   .sharedIntermediate = Shared == SharedKind::None      ? 0
                                         : Shared == SharedKind::TwoByte ? Is
                                                                         : I,
                   .sharedAlike = Shared == SharedKind::Joined,
                   .expertFormat = WeightFormat::BlockE4M3};
    layer.kernels = kernelsOf<GateUp, Down, Shared>();
    layer.weights = weightsOf(memory, Shared == SharedKind::Joined);
    return std::optional(RoutingView{memory.input(inputs().ids), memory.input(inputs().pairWeights)});
  };
  return runSteps(seed, inputs().hidden, T, fill, [](const CudaWorkspace &space, const uint16_t *output) {
    const MiddleRows rounded{.rounded = reinterpret_cast<const uint16_t *>(space.activated)},
        quantised{.quantised = space.quantised, .scales = space.activatedScales, .scaleStride = space.scaleStride};
    constexpr bool quantises = givesQuantised(gemmConfigOf(GateUp, DType::BF16, GemmRole::GateUp, false));
    return checkLayer(quantises ? quantised : rounded, output, Shared);
  });
}

} // namespace

TEST_CASE("a session's forward on e4m3 tiles gives the reference's output", "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<few, few>);
  forSchedules(kSessionSchedules, runLayer<deep, few>);
  forSchedules(kSessionSchedules, runLayer<whole, deep>);
}

TEST_CASE("a session's forward adds a shared expert of two-byte elements to e4m3 products",
          "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<few, few, SharedKind::TwoByte>);
}

TEST_CASE("a session's forward multiplies a shared expert that joins the routed ones in e4m3",
          "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<few, few, SharedKind::Joined>);
  forSchedules(kSessionSchedules, runLayer<whole, whole, SharedKind::Joined>);
  forSchedules(kSessionSchedules, runLayer<inTokens, inTokens, SharedKind::Joined>);
}

TEST_CASE("a session's forward on wide e4m3 tiles gives the reference's output", "[emulation][session][fp8]") {
  forSchedules(kSessionSchedules, runLayer<wide, wide>);
  forSchedules(kSessionSchedules, runLayer<inTokens, inTokens>);
}
