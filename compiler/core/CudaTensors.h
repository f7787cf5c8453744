// Tensors in device memory as Hopper's copy engine sees them: what the maps describe that kernels take
// (compiler/kernels). The runtime and the benchmark hand these to the driver, the emulator reads them itself.
#pragma once

#include "compiler/kernels/KernelAbi.h"

#include <array>

namespace moec {

/// A tensor that is copied box by box. Dimension 0 is contiguous; its boxes are 128 bytes and swizzled by 128 bytes.
struct CudaTensor {
  static constexpr uint32_t maxRank = 5;

  Element element = Element::BF16;
  uint32_t elementBytes = 2; // 1: bytes (e4m3), whatever `element` says
  uint64_t address = 0;      // a multiple of 16
  uint32_t rank = 0;
  std::array<uint64_t, maxRank> sizes{};       // elements
  std::array<uint64_t, maxRank - 1> strides{}; // bytes between elements of dimensions 1, 2, ...; multiples of 16
  std::array<uint32_t, maxRank> box{};         // elements
};

inline constexpr uint32_t kCudaBoxColumns = 64; // of two-byte elements

/// A tensor of so many two-byte columns as one of bytes: e4m3 elements, twice as many in the same places.
constexpr CudaTensor inBytes(CudaTensor tensor) {
  tensor.elementBytes = 1;
  tensor.sizes[0] *= 2;
  tensor.box[0] *= 2;
  return tensor;
}

/// Weights [experts, n, k], experts `expertStride` elements apart, in boxes of `boxRows` rows (KernelAbi.h, boxRows()):
/// of the Hopper family gate, up or down, of the fitted family down alone.
constexpr CudaTensor weightTensor(Element element, uint64_t weights, uint32_t k, uint32_t n, uint32_t experts,
                                  uint64_t expertStride, uint32_t boxRows) {
  return {.element = element,
          .address = weights,
          .rank = 3,
          .sizes = {k, n, experts},
          .strides = {uint64_t{k} * 2, expertStride * 2},
          .box = {kCudaBoxColumns, boxRows, 1}};
}

/// Gate and up, each as above, with rows interleaved by eight: groups of eight gate and eight up rows follow each
/// other, in boxes of so many groups (boxGroups()). `up` lies behind `gate`, by less than 2^40 bytes. Fitted family.
constexpr CudaTensor interleavedTensor(Element element, uint64_t gate, uint64_t up, uint32_t k, uint32_t n,
                                       uint32_t experts, uint64_t expertStride, uint32_t boxGroups) {
  const uint64_t rowBytes = uint64_t{k} * 2;
  return {.element = element,
          .address = gate,
          .rank = 5,
          .sizes = {k, 8, 2, n / 8, experts},
          .strides = {rowBytes, up - gate, 8 * rowBytes, expertStride * 2},
          .box = {kCudaBoxColumns, 8, 2, boxGroups, 1}};
}

/// Rows [rows, columns] in boxes of `boxRows` rows. Fitted family: outputs (kOutputBoxRows) and down's tokens
/// (tokenBoxRows()).
constexpr CudaTensor rowTensor(Element element, uint64_t from, uint32_t columns, uint64_t rows, uint32_t boxRows) {
  return {.element = element,
          .address = from,
          .rank = 2,
          .sizes = {columns, rows},
          .strides = {uint64_t{columns} * 2},
          .box = {kCudaBoxColumns, boxRows}};
}

} // namespace moec
