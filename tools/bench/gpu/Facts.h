// Small experiments that settle what the CUDA runtime device is built on: does a load wait for running kernels, what do
// graph updates and growing memory cost, does NVRTC keep a cache, what does counting cost.
#pragma once

#include "compiler/core/Status.h"

#include <string>

namespace moec::bench {

/// Runs all experiments on device 0 and prints a line each; with `jsonPath` also as one JSON object.
///
/// Errors: DeviceMissing (no driver, no GPU, no NVRTC), Failure (the driver's error, named).
Status settleFacts(const std::string &jsonPath);

} // namespace moec::bench
