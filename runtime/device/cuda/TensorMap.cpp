#include "runtime/device/cuda/TensorMap.h"

#include <fmt/ranges.h>

#include <span>

namespace moec {

Status encode(const CudaDriver &driver, const CudaTensor &tensor, const char *what, CUtensorMap &map) {
  const auto type = tensor.elementBytes == 1          ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                    : tensor.element == Element::BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                      : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  const cuuint32_t steps[CudaTensor::maxRank] = {1, 1, 1, 1, 1};
  MOEC_CUDA(driver, cuTensorMapEncodeTiled,
            (&map, type, tensor.rank, reinterpret_cast<void *>(tensor.address), tensor.sizes.data(),
             tensor.strides.data(), tensor.box.data(), steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
            "a map of {}, sizes {} from the innermost", what, std::span(tensor.sizes.data(), tensor.rank));
  return {};
}

} // namespace moec
