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
  bool asNumbered = false;                    // `order` is 0 .. X-1 and need not be read
  std::shared_ptr<const CUdeviceptr> order;   // device [groupedExperts] int32: experts in the plan's order
  GemmMaps gateUpMaps, downMaps, sharedGateUpMaps, sharedDownMaps;
  CUtensorMap gateUpFewMap{}, downFewMap{}; // weights as CudaKernels::gateUpFew and downFew read them
};

/// The order of a layer's experts as the device has it: a shared expert that joins them has the most rows, so it is
/// first, and the others are one number further (JoinedShared.h).
std::vector<int32_t> deviceOrder(const LayerShape &shape, const LayerTable &table);

/// Makes the tensor maps of `layer`, whose kernels and weights are there. Error: the driver's.
Status makeMaps(const CudaDriver &driver, CudaLayer &layer);

} // namespace moec
