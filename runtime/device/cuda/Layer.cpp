#include "runtime/device/cuda/Layer.h"

#include "compiler/core/DownFewTensor.h"
#include "compiler/core/JoinedShared.h"
#include "runtime/device/cuda/TensorMap.h"

namespace moec {
namespace {

Status makeMaps(const CudaDriver &driver, const CudaProduct &gemm, CUdeviceptr first, CUdeviceptr second,
                uint32_t experts, GemmMaps &maps) {
  const GemmConfig &config = gemm.config;
  // Maps of e4m3 are made as of half as many two-byte columns.
  const bool fp8 = gemm.family == GemmFamily::Fp8;
  const uint32_t k = fp8 ? gemm.k / 2 : gemm.k;
  const uint64_t stride = uint64_t{k} * gemm.n;
  const auto make = [&](const CudaTensor &tensor, const char *what, CUtensorMap &map) {
    return encode(driver, fp8 ? inBytes(tensor) : tensor, what, map);
  };
  const auto weights = [&](CUdeviceptr from, CUtensorMap &map) {
    return make(weightTensor(config.element, from, k, gemm.n, experts, stride, boxRows(config)), "weights", map);
  };
  if (gemm.family == GemmFamily::Portable)
    return {};
  if ((fp8 || gemm.family == GemmFamily::Fitted) && config.role == GemmRole::GateUp)
    return make(interleavedTensor(config.element, first, second, k, gemm.n, experts, stride, boxGroups(config)),
                "gate and up", maps.first);
  MOEC_TRY(weights(first, maps.first));
  return gemm.family == GemmFamily::Hopper ? weights(second, maps.second) : Status();
}

/// Those of the kernels for steps of few tokens.
Status makeFewMaps(const CudaDriver &driver, uint32_t experts, CudaLayer &layer) {
  const CudaKernels &kernels = *layer.kernels;
  const CudaWeights &weights = *layer.weights;
  const CudaProduct &gateUp = kernels.gateUp, &down = kernels.down;
  const uint64_t stride = uint64_t{gateUp.k} * gateUp.n;
  if (kernels.gateUpFew)
    MOEC_TRY(encode(driver, gateUpFewTensor(weights.gate, weights.up, gateUp.k, gateUp.n, experts, stride),
                    "gate and up of few tokens", layer.gateUpFewMap));
  if (kernels.downFew)
    MOEC_TRY(encode(driver, downFewTensor(down.family, down.config.element, weights.down, down.k, down.n, experts),
                    "down's weights of few tokens", layer.downFewMap));
  return {};
}

} // namespace

std::vector<int32_t> deviceOrder(const LayerShape &shape, const LayerTable &table) {
  std::vector<int32_t> order(table.order.begin(), table.order.end());
  if (!joinsShared(shape))
    return order;
  for (int32_t &expert : order)
    ++expert;
  order.insert(order.begin(), 0);
  return order;
}

Status makeMaps(const CudaDriver &driver, CudaLayer &layer) {
  const CudaKernels &kernels = *layer.kernels;
  const CudaWeights &weights = *layer.weights;
  const uint32_t experts = groupedExperts(layer.shape);
  MOEC_TRY(makeMaps(driver, kernels.gateUp, weights.gate, weights.up, experts, layer.gateUpMaps));
  MOEC_TRY(makeMaps(driver, kernels.down, weights.down, weights.down, experts, layer.downMaps));
  MOEC_TRY(makeFewMaps(driver, experts, layer));
  if (kernels.sharedGateUp)
    MOEC_TRY(makeMaps(driver, *kernels.sharedGateUp, weights.sharedGate, weights.sharedUp, 1, layer.sharedGateUpMaps));
  if (kernels.sharedDown)
    MOEC_TRY(makeMaps(driver, *kernels.sharedDown, weights.sharedDown, weights.sharedDown, 1, layer.sharedDownMaps));
  return {};
}

} // namespace moec
