#include "tools/bench/gpu/GateUpFew.h"

#include "compiler/core/DownFewTensor.h"
#include "compiler/jit/ShippedFp8.h"

namespace moec::bench {

Result<DeviceGateUpFew> DeviceGateUpFew::load(Device &device, Bundle &bundle, const Shape &shape,
                                              const uint8_t *weights, const float *scales) {
  DeviceGateUpFew gateUp;
  gateUp.shape = shape;
  gateUp.weightScales = scales;
  Result<Kernel> kernel = bundle.kernel(shippedGateUpFewFp8().name, kGateUpFewMostSharedBytes);
  MOEC_TRY(kernel.status());
  gateUp.kernel = *kernel;
  MOEC_TRY(device.preferShared(*kernel));
  const uint64_t gate = reinterpret_cast<uint64_t>(weights), matrix = uint64_t{shape.intermediate} * shape.hidden;
  Result<CUtensorMap> map = device.tensorMap(
      gateUpFewTensor(gate, gate + matrix, shape.hidden, shape.intermediate, shape.experts, 2 * matrix));
  MOEC_TRY(map.status());
  gateUp.map = *map;
  return gateUp;
}

Status DeviceGateUpFew::launch(Device &device, const void *hidden, void *activated, const FewPairs &few, bool downIsFew,
                               bool overlap) {
  const int64_t scales = int64_t{ceilDivide(shape.intermediate, kFp8Block)} * ceilDivide(shape.hidden, kFp8Block);
  const GateUpFewLaunch how =
      gateUpFewLaunch(downIsFew, shape.tokens, shape.topK, shape.intermediate, shape.hidden, device.multiprocessors());
  GateUpFewFp8Args args{.tokens = hidden,
                        .output = activated,
                        .weightScales = weightScales,
                        .upWeightScales = weightScales + scales,
                        .expertScaleStride = 2 * scales,
                        .expertGroups = 2 * shape.intermediate / kGateUpFewColumns,
                        .k = shape.hidden,
                        .n = shape.intermediate,
                        .ringBytes = how.ringBytes,
                        .startAt = how.startAt,
                        .few = few};
  kernel.sharedBytes = gateUpFewSharedBytes(shape.hidden, how.ringBytes);
  void *parameters[] = {&map, &args};
  return device.launch(kernel, {device.multiprocessors(), kGateUpFewThreads, overlap}, parameters);
}

} // namespace moec::bench
