#include "runtime/device/cuda/Layer.h"

namespace moec {
namespace {

/// Map of weights [experts, n, k], read in boxes of 64 elements of k by boxRows(config) rows, swizzled by 128 bytes.
Status makeMap(const CudaDriver &driver, const CudaProduct &gemm, CUdeviceptr weights, uint32_t experts, CUtensorMap &map) {
  const cuuint64_t sizes[3] = {gemm.k, gemm.n, experts};
  const cuuint64_t strides[2] = {cuuint64_t{gemm.k} * 2, cuuint64_t{gemm.k} * gemm.n * 2};
  const cuuint32_t box[3] = {gemm.config.tileK, boxRows(gemm.config), 1}, steps[3] = {1, 1, 1};
  MOEC_CUDA(driver, cuTensorMapEncodeTiled,
            (&map,
             gemm.config.element == Element::BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 3,
             reinterpret_cast<void *>(weights), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
            "a map of weights [{}, {}, {}]", experts, gemm.n, gemm.k);
  return {};
}

Status makeMaps(const CudaDriver &driver, const CudaProduct &gemm, CUdeviceptr first, CUdeviceptr second, uint32_t experts,
                GemmMaps &maps) {
  if (gemm.family != GemmFamily::Hopper)
    return {};
  MOEC_TRY(makeMap(driver, gemm, first, experts, maps.first));
  return makeMap(driver, gemm, second, experts, maps.second);
}

} // namespace

Status makeMaps(const CudaDriver &driver, CudaLayer &layer) {
  const CudaKernels &kernels = *layer.kernels;
  const CudaWeights &weights = *layer.weights;
  const uint32_t experts = layer.shape.experts;
  MOEC_TRY(makeMaps(driver, kernels.gateUp, weights.gate, weights.up, experts, layer.gateUpMaps));
  MOEC_TRY(makeMaps(driver, kernels.down, weights.down, weights.down, experts, layer.downMaps));
  if (kernels.sharedGateUp)
    MOEC_TRY(makeMaps(driver, *kernels.sharedGateUp, weights.sharedGate, weights.sharedUp, 1, layer.sharedGateUpMaps));
  if (kernels.sharedDown)
    MOEC_TRY(makeMaps(driver, *kernels.sharedDown, weights.sharedDown, weights.sharedDown, 1, layer.sharedDownMaps));
  return {};
}

} // namespace moec
