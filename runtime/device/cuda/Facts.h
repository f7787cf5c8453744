// What a GPU can do, as planning and code generation need it.
#pragma once

#include "compiler/core/TargetFacts.h"
#include "runtime/device/cuda/Driver.h"

namespace moec {

/// The facts of the driver's device. Cards that `--target` knows by name have the facts that it knows, so that what was
/// compiled for that name elsewhere is found; of others, and of boards of that name that are cut down or have other
/// memory, the driver's attributes tell. `arch` is sm_90a on Hopper, whose own kernels were verified on H100 and H200,
/// else sm_ and the compute capability. Errors: DeviceMissing (older than sm_80), and the driver's.
Result<TargetFacts> cudaFacts(const CudaDriver &driver);

} // namespace moec
