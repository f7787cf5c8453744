// Measures what one thread of this CPU takes for each part of a layer.
#pragma once

#include "compiler/core/Calibration.h"
#include "runtime/device/cpu/LayerKernels.h"
#include "runtime/device/cpu/ThreadPool.h"

namespace moec {

/// Times the gate-up kernels of every height that `kernels` has (heights between them are interpolated, those above the
/// tallest stay 0), streaming from memory with all threads of the pool, packing, copying, and an empty section. Takes
/// some 50 ms; medians of several repeats.
///
/// Errors: ResourceExhausted (no memory for a buffer well beyond the caches).
Result<Calibration> calibrate(const LayerKernels &kernels, const TargetFacts &facts, ThreadPool &pool);

/// What a calibration belongs to in the cache: this CPU's name, the target, and what the tiles multiply.
std::string calibrationKey(const TargetFacts &facts, DType compute, const std::string &buildId);

} // namespace moec
