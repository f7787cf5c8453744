// gateUpFewFp8 as a kernel of the emulated driver.
#pragma once

#include "compiler/kernels/gateUpFewFp8.cuh"
#include "tests/emulation/session/EmulatedDriver.h"

#include <set>

namespace moec::emulation {

/// Weight rows of its products that count, of 64.
inline uint32_t rowsThatCount(const GateUpFewFp8Args &args, uint32_t blocks) {
  const FewPairs &few = args.few;
  std::set<uint32_t> asked(few.ids, few.ids + few.numTokens * few.topK);
  std::erase_if(asked, [&](uint32_t id) { return id >= few.numExperts; }); // of padding
  const auto experts = static_cast<uint32_t>(few.joined + asked.size());
  const uint32_t most = ceilDivide(experts * (args.n / kGateUpFewColumns), blocks);
  const uint32_t products = std::max(ceilDivide(most, kGateUpFewUnits), 1u);
  return std::max(ceilDivide(most, products), 1u) * 2 * kGateUpFewColumns;
}

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
