// Down's weights as downFew and downFewFp8 (compiler/kernels) take them.
#pragma once

#include "compiler/core/CudaTensors.h"
#include "compiler/kernels/DownFewAbi.h"

namespace moec {

/// [experts * n rows, k], k a multiple of 64: (64 elements of k, row, 64s of k).
constexpr CudaTensor downFewTensor(Element element, uint64_t weights, uint32_t k, uint32_t n, uint32_t experts) {
  return {.element = element,
          .address = weights,
          .rank = 3,
          .sizes = {kCudaBoxColumns, uint64_t{experts} * n, k / kCudaBoxColumns},
          .strides = {uint64_t{k} * 2, kCudaBoxColumns * 2},
          .box = {kCudaBoxColumns, kDownFewColumns, kDownFewChunk / kCudaBoxColumns}};
}

/// As downFewFp8 takes them, k a multiple of kFp8Block and n of eight: (element of a block of the scales, row of eight,
/// block, group of eight rows).
constexpr CudaTensor downFewFp8Tensor(uint64_t weights, uint32_t k, uint32_t n, uint32_t experts) {
  return {.elementBytes = 1,
          .address = weights,
          .rank = 4,
          .sizes = {kFp8Block, 8, k / kFp8Block, uint64_t{experts} * n / 8},
          .strides = {k, kFp8Block, uint64_t{k} * 8},
          .box = {kFp8Block, 8, kDownFewChunk / kFp8Block, kDownFewColumns / 8}};
}

} // namespace moec
