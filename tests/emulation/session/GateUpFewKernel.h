// gateUpFewFp8 as a kernel of the emulated driver.
#pragma once

#include "tests/emulation/kernels/GateUpFewFixture.h"
#include "tests/emulation/session/EmulatedDriver.h"

namespace moec::emulation {

inline CudaKernel gateUpFewKernel() {
  static const Kernel kernel = [](const CUlaunchConfig &config, void **parameters) {
    const TensorMap weights = argument<TensorMap>(parameters, 0);
    const GateUpFewFp8Args args = argument<GateUpFewFp8Args>(parameters, 1);
    ++machine->numGateUpFew;
    const auto body = [&] { gateUpFewFp8<GateUpFewConfig{.element = Element::BF16}, SiluGate>(weights, args); };
    runKernel(config, unaligned, true, body, 1, rowsThatCount(args, config.gridDimX));
  };
  return loaded(kernel, kGateUpFewThreads, kGateUpFewMostSharedBytes);
}

} // namespace moec::emulation
