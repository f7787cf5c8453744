// Biases of a tile's output columns.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/Schedule.cuh"

namespace moec::tile {

/// Entry `column` of the work's expert in `biases` [E, n]; 0 past the last column.
inline __device__ float biasAt(const GroupedGemmArgs &args, const float *biases, const Work &work, uint32_t column) {
  return column < args.n ? biases[static_cast<uint64_t>(work.expert) * args.n + column] : 0.0f;
}

} // namespace moec::tile
