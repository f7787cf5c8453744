#include "tools/bench/gpu/DownFew.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/DownFewTensor.h"
#include "compiler/jit/ShippedFp8.h"

namespace moec::bench {

Result<DeviceDownFew> DeviceDownFew::load(Device &device, Bundle &bundle, const Shape &shape, const std::string &name,
                                          uint32_t sharedBytes, const CudaTensor &weights) {
  DeviceDownFew down;
  down.shape = shape;
  Result<Kernel> kernel = bundle.kernel(name, sharedBytes);
  MOEC_TRY(kernel.status());
  down.kernel = *kernel;
  Result<CUtensorMap> map = device.tensorMap(weights);
  MOEC_TRY(map.status());
  down.map = *map;
  return down;
}

Result<DeviceDownFew> DeviceDownFew::load(Device &device, Bundle &bundle, const Shape &shape, Element element,
                                          const void *weights) {
  return load(
      device, bundle, shape, shippedDownFew({.element = element, .topK = shape.topK}).name, kDownFewMostSharedBytes,
      downFewTensor(element, reinterpret_cast<uint64_t>(weights), shape.intermediate, shape.hidden, shape.experts));
}

Result<DeviceDownFew> DeviceDownFew::loadFp8(Device &device, Bundle &bundle, const Shape &shape, const uint8_t *weights,
                                             const float *scales) {
  Result<DeviceDownFew> down =
      load(device, bundle, shape, shippedDownFewFp8(shape.topK, downFewFp8Groups(shape.topK, shape.hidden)).name,
           kDownFewFp8MostSharedBytes,
           downFewFp8Tensor(reinterpret_cast<uint64_t>(weights), shape.intermediate, shape.hidden, shape.experts));
  if (down)
    down->weightScales = scales;
  return down;
}

Status DeviceDownFew::launch(Device &device, const DownFewArgs &given, bool overlap, const RowScales &rows) {
  DownFewFp8Args args{given, rows.scales, weightScales, rows.stride};
  DownFewArgs &down = args.down;
  down.k = shape.intermediate;
  down.n = shape.hidden;
  const DownFewLaunch how = downFewLaunch(weightScales ? GemmFamily::Fp8 : GemmFamily::Fitted, shape.tokens, shape.topK,
                                          down.k, down.n, device.multiprocessors());
  down.slots = how.slots;
  kernel.sharedBytes = how.sharedBytes;
  void *parameters[] = {&map, weightScales ? static_cast<void *>(&args) : &down};
  return device.launch(kernel, {how.blocks, kDownFewThreads, overlap}, parameters);
}

} // namespace moec::bench
