// One layer of one generation on a CPU: kernels, table and weights that travel together.
#pragma once

#include "runtime/device/Device.h"
#include "runtime/device/cpu/Experts.h"

#include <memory>
#include <vector>

namespace moec {

struct CpuLayer final : DeviceLayer {
  std::shared_ptr<const LayerKernels> kernels;
  std::shared_ptr<const LayerKernels> generic; // generation 0's: what spills runs on them
  std::shared_ptr<const CommonWeights> common;
  std::vector<ExpertWeights> experts; // [E]

  uint64_t packedBytes() const override {
    uint64_t bytes = 0;
    for (const ExpertWeights &expert : experts)
      bytes += expert.packed ? expert.packed->memory.bytes() : 0;
    return bytes;
  }
};

} // namespace moec
