// Tensor maps, made by the driver on the host alone: no call of the device's.
#pragma once

#include "compiler/core/CudaTensors.h"
#include "runtime/device/cuda/Driver.h"

namespace moec {

/// Writes the tensor into `map`, as kernels take it. GPUs from sm_90 on. Error: the driver's, naming `what` and its
/// sizes.
Status encode(const CudaDriver &driver, const CudaTensor &tensor, const char *what, CUtensorMap &map);

} // namespace moec
