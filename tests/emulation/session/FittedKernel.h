// A product of the fitted family as a kernel of the emulated driver.
#pragma once

#include "compiler/kernels/groupedGemmFitted.cuh"
#include "tests/emulation/session/EmulatedDriver.h"

#include <type_traits>

namespace moec::emulation {

template <GemmConfig C> Kernel fittedKernel() {
  using Activation = std::conditional_t<C.role == GemmRole::GateUp, SiluGate, NoActivation>;
  return [](const CUlaunchConfig &config, void **parameters) {
    const TensorMap weights = argument<TensorMap>(parameters, 0), tokens = argument<TensorMap>(parameters, 1),
                    output = argument<TensorMap>(parameters, 2);
    const GroupedGemmArgs args = argument<GroupedGemmArgs>(parameters, 3);
    runKernel(
        config, unaligned, true, [&] { groupedGemmFitted<C, Activation>(weights, tokens, output, args); },
        C.clusterBlocks);
  };
}

} // namespace moec::emulation
