// Down of steps of few tokens, which combines (compiler/kernels/downFew.cuh), as a kernel with the map of its weights.
#pragma once

#include "compiler/kernels/DownFewAbi.h"
#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Reference.h"

namespace moec::bench {

class DeviceDownFew {
public:
  /// For steps of a shape for which downIsFew(). `weights`: down's, [E, H, I].
  static Result<DeviceDownFew> load(Device &device, Bundle &bundle, const Shape &shape, Element element,
                                    const void *weights);
  /// Fills in what the shape says, and queues it.
  Status launch(Device &device, DownFewArgs args, bool overlap);

private:
  Shape shape{};
  Kernel kernel;
  CUtensorMap map{};
};

} // namespace moec::bench
