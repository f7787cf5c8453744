// Arrays that the reference works on: row-major values and their shape.
#pragma once

#include "compiler/core/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moec::reference {

using Shape = std::vector<int64_t>;

/// Product of the sizes; 1 for rank 0. The sizes are not negative.
int64_t elementCount(const Shape &shape);
/// As an error shows it, e.g. "[2, 8]".
std::string shapeText(const Shape &shape);

template <typename T> struct Array {
  Shape shape;
  std::vector<T> values; // row-major, elementCount(shape) of them

  static Array filled(Shape shape, T value) {
    auto count = static_cast<size_t>(elementCount(shape));
    return {std::move(shape), std::vector<T>(count, value)};
  }

  /// Row `index` of the array read as [everything else, last size].
  std::span<T> row(int64_t index) { return {values.data() + index * shape.back(), rowSize()}; }
  std::span<const T> row(int64_t index) const { return {values.data() + index * shape.back(), rowSize()}; }
  size_t rowSize() const { return static_cast<size_t>(shape.back()); }

  bool operator==(const Array &) const = default;
};

using Tensor = Array<double>;    // of f32, bf16 and f16 tensors, whose values double holds exactly
using IdTensor = Array<int32_t>; // expert ids, slots, counts

/// Any size, in `expectShape`.
inline constexpr int64_t anySize = -1;

/// Error InvalidArgument, naming the tensor, where its shape is not `wanted` or its values do not
/// fill it.
Status expectShape(const char *name, const Shape &shape, size_t numValues, const Shape &wanted);

template <typename T> Status expectShape(const char *name, const Array<T> &array, const Shape &wanted) {
  return expectShape(name, array.shape, array.values.size(), wanted);
}

} // namespace moec::reference
