// Weights as the kernels for steps of few tokens (compiler/kernels) take them: downFew, downFewFp8, gateUpFewFp8.
#pragma once

#include "compiler/core/Config.h"
#include "compiler/core/CudaTensors.h"
#include "compiler/kernels/DownFewAbi.h"
#include "compiler/kernels/GateUpFewAbi.h"

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

/// As the one or the other takes them, by down's family.
constexpr CudaTensor downFewTensor(GemmFamily down, Element element, uint64_t weights, uint32_t k, uint32_t n,
                                   uint32_t experts) {
  return down == GemmFamily::Fp8 ? downFewFp8Tensor(weights, k, n, experts)
                                 : downFewTensor(element, weights, k, n, experts);
}

/// Gate and up as gateUpFewFp8 takes them, k a multiple of kFp8Block, n of eight: (element of a block of the scales,
/// row of eight, block, gate or up, group of eight rows), experts `expertStride` elements apart. `up` lies behind
/// `gate`.
constexpr CudaTensor gateUpFewTensor(uint64_t gate, uint64_t up, uint32_t k, uint32_t n, uint32_t experts,
                                     uint64_t expertStride) {
  const uint64_t group = uint64_t{k} * 8;
  return {.elementBytes = 1,
          .address = gate,
          .rank = 5,
          .sizes = {kFp8Block, 8, k / kFp8Block, 2, (experts - 1) * (expertStride / group) + n / 8},
          .strides = {k, kFp8Block, up - gate, group},
          .box = {kFp8Block, 8, kGateUpFewChunk / kFp8Block, 2, 1}};
}

} // namespace moec
