// Down of steps of few tokens, which combines (compiler/kernels/downFew.cuh, downFewFp8.cuh), as a kernel with the map
// of its weights.
#pragma once

#include "compiler/kernels/DownFewAbi.h"
#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Reference.h"

namespace moec::bench {

/// Of rows that are quantised, [k / 128, stride]; null: they are not.
struct RowScales {
  const float *scales = nullptr;
  uint32_t stride = 0;
};

class DeviceDownFew {
public:
  /// For steps of a shape for which downIsFew(). `weights`: down's, [E, H, I].
  static Result<DeviceDownFew> load(Device &device, Bundle &bundle, const Shape &shape, Element element,
                                    const void *weights);
  /// Likewise of e4m3 (downIsFewFp8()), with their scales.
  static Result<DeviceDownFew> loadFp8(Device &device, Bundle &bundle, const Shape &shape, const uint8_t *weights,
                                       const float *scales);
  /// Fills in what the shape says, and queues it.
  Status launch(Device &device, const DownFewArgs &args, bool overlap, const RowScales &rows = {});

private:
  static Result<DeviceDownFew> load(Device &device, Bundle &bundle, const Shape &shape, const std::string &name,
                                    uint32_t sharedBytes, const CudaTensor &weights);

  Shape shape{};
  Kernel kernel;
  CUtensorMap map{};
  const float *weightScales = nullptr; // of e4m3
};

} // namespace moec::bench
