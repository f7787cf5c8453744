// One layer of one generation on a CPU: kernels, table and weights that travel together.
#pragma once

#include "compiler/core/Package.h"
#include "runtime/device/cpu/Experts.h"

#include <memory>
#include <vector>

namespace moec {

/// Immutable; generations that do not differ in this layer share it.
struct CpuLayer {
  uint32_t number = 0;
  LayerShape shape;
  RouterSpec router;
  LayerPlan plan;
  Histogram plannedFor;
  std::shared_ptr<const LayerKernels> kernels;
  std::shared_ptr<const LayerKernels> generic; // generation 0's: what spills runs on them
  std::shared_ptr<const CommonWeights> common;
  std::vector<ExpertWeights> experts;          // [E]

  /// Bytes of experts' weights that are held packed.
  uint64_t packedBytes() const {
    uint64_t bytes = 0;
    for (const ExpertWeights &expert : experts)
      bytes += expert.packed ? expert.packed->memory.bytes() : 0;
    return bytes;
  }
};

} // namespace moec
