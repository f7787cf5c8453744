// Measures what a calibration of a GPU is fitted to (compiler/core/GpuFit.h).
#pragma once

#include "compiler/core/GpuFit.h"
#include "runtime/device/cuda/Forward.h"
#include "runtime/device/cuda/Weights.h"

#include <memory>
#include <vector>

namespace moec {

/// Kernels of one layer whose down has each of the tiles that are to be measured, in turn.
using TileKernels = std::vector<std::shared_ptr<const CudaKernels>>;

/// The configs of a layer that bring such kernels, one for each of the target's tiles, with as few others as can be.
std::vector<LayerConfig> calibrationConfigs(const LayerShape &shape, const TargetFacts &facts);

/// Runs calibrationCases(facts), each case as a graph of many launches that is replayed, and fits. `site` has the
/// stream that it runs on; some seconds at most. Dispatch is measured for the layer's number of experts. Takes 1.4 GiB
/// of device memory meanwhile.
///
/// Errors: ResourceExhausted (no such memory), the driver's.
Result<GpuCalibration> calibrateGpu(std::shared_ptr<const CudaDriver> driver, const DeviceMemory &memory,
                                    Uploader &uploader, const LayerShape &shape, const TargetFacts &facts,
                                    const TileKernels &kernels, CudaLaunchSite site);

} // namespace moec
