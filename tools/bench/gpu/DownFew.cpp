#include "tools/bench/gpu/DownFew.h"

#include "compiler/core/DownFewTensor.h"

namespace moec::bench {

Result<DeviceDownFew> DeviceDownFew::load(Device &device, Bundle &bundle, const Shape &shape, Element element,
                                          const void *weights) {
  DeviceDownFew down;
  down.shape = shape;
  Result<Kernel> kernel =
      bundle.kernel(shippedDownFew({.element = element, .topK = shape.topK}).name, kDownFewMostSharedBytes);
  MOEC_TRY(kernel.status());
  down.kernel = *kernel;
  Result<CUtensorMap> map = device.tensorMap(
      downFewTensor(element, reinterpret_cast<uint64_t>(weights), shape.intermediate, shape.hidden, shape.experts));
  MOEC_TRY(map.status());
  down.map = *map;
  return down;
}

Status DeviceDownFew::launch(Device &device, DownFewArgs args, bool overlap) {
  args.k = shape.intermediate;
  args.n = shape.hidden;
  args.slots = downFewSlots(shape.tokens, shape.topK, args.k, args.n, device.multiprocessors());
  kernel.sharedBytes = downFewSharedBytes(args.slots);
  void *parameters[] = {&map, &args};
  return device.launch(kernel, {downFewBlocks(shape.tokens, args.n), kDownFewThreads, overlap}, parameters);
}

} // namespace moec::bench
