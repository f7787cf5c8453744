// Dense row-major matrices that a caller owns: what goes into and comes out of a forward.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>

namespace moec {

/// [rows, columns] elements of `dtype`, row-major without gaps, in the device's memory. Does not own.
struct ConstTensorView {
  const void *data = nullptr;
  DType dtype = DType::F32;
  int64_t rows = 0;
  int64_t columns = 0;
};

/// As ConstTensorView, to be written.
struct TensorView {
  void *data = nullptr;
  DType dtype = DType::F32;
  int64_t rows = 0;
  int64_t columns = 0;

  operator ConstTensorView() const { return {data, dtype, rows, columns}; }
};

/// Routing that the caller brings: ids [tokens, topK] (-1 is padding, no id twice in a row) and their weights.
struct RoutingView {
  const int32_t *ids = nullptr;
  const float *weights = nullptr;
};

} // namespace moec
