// Gate-up of e4m3 steps of few tokens (compiler/kernels/gateUpFewFp8.cuh), as a kernel with the map of its weights.
#pragma once

#include "compiler/core/CudaLaunch.h"
#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Reference.h"

namespace moec::bench {

class DeviceGateUpFew {
public:
  /// For shapes that fitsGateUpFew(). `weights`: of each expert gate [I, H], then up, with their scales.
  static Result<DeviceGateUpFew> load(Device &device, Bundle &bundle, const Shape &shape, const uint8_t *weights,
                                      const float *scales);
  /// `downIsFew`: whether downFewFp8 is launched behind it.
  Status launch(Device &device, const void *hidden, void *activated, const FewPairs &few, bool downIsFew, bool overlap);

private:
  Shape shape{};
  Kernel kernel;
  CUtensorMap map{};
  const float *weightScales = nullptr;
};

} // namespace moec::bench
