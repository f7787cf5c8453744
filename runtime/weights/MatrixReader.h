// Copies a matrix out of a tensor: gathers and converts.
#pragma once

#include "runtime/weights/Checkpoint.h"
#include "runtime/weights/FusedLayout.h"

namespace moec {

/// Writes the matrix at `layout` of `tensor` row-major to `to`, as `want`.
///
/// dtype   of the tensor's elements
/// layout  lies within the tensor; contiguous, or with columns further apart than rows (a transposed matrix)
/// to      rows * cols elements, of any alignment
///
/// Errors: InvalidArgument (past the tensor's end), Failure (reading failed). Thread-safe.
Status readMatrix(const TensorSpan &tensor, DType dtype, const MatrixLayout &layout, DType want,
                  std::span<std::byte> to);

} // namespace moec
