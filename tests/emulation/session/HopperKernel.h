// A product of the Hopper family as a kernel of the emulated driver.
#pragma once

#include "compiler/kernels/groupedGemmSm90.cuh"
#include "tests/emulation/session/EmulatedDriver.h"

#include <type_traits>

namespace moec::emulation {

template <GemmConfig C> Kernel hopperKernel() {
  using Activation = std::conditional_t<C.role == GemmRole::GateUp, SiluGate, NoActivation>;
  return [](const CUlaunchConfig &config, void **parameters) {
    const TensorMap gate = argument<TensorMap>(parameters, 0), up = argument<TensorMap>(parameters, 1);
    const GroupedGemmArgs args = argument<GroupedGemmArgs>(parameters, 2);
    runKernel(config, unaligned, false, [&] { groupedGemmSm90<C, Activation>(gate, up, args); });
  };
}

} // namespace moec::emulation
