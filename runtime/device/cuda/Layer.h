// One layer of one generation on a GPU.
#pragma once

#include "runtime/device/cuda/Kernels.h"
#include "runtime/device/cuda/Weights.h"

namespace moec {

/// The weights of a product as TMA reads them; of no meaning for the portable family.
struct GemmMaps {
  CUtensorMap first{},
      second{}; // Hopper: gate and up, or down twice. Fitted, Fp8: gate and up in one, or down; no second
};

struct CudaLayer final : DeviceLayer {
  std::shared_ptr<const CudaKernels> kernels;
  std::shared_ptr<const CudaWeights> weights; // one for all generations
  std::shared_ptr<const CUdeviceptr> order;   // device [E] int32: experts, costliest first
  GemmMaps gateUpMaps, downMaps, sharedGateUpMaps, sharedDownMaps;
};

/// Makes the tensor maps of `layer`, whose kernels and weights are there. Error: the driver's.
Status makeMaps(const CudaDriver &driver, CudaLayer &layer);

} // namespace moec
