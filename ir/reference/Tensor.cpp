#include "ir/reference/Tensor.h"

#include <fmt/ranges.h>

#include <functional>
#include <numeric>

namespace moec::reference {

int64_t elementCount(const Shape &shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

static std::string sizeText(int64_t size) { return size == anySize ? "?" : fmt::format("{}", size); }

std::string shapeText(const Shape &shape) {
  std::vector<std::string> sizes;
  for (int64_t size : shape)
    sizes.push_back(sizeText(size));
  return fmt::format("[{}]", fmt::join(sizes, ", "));
}

Status expectShape(const char *name, const Shape &shape, size_t numValues, const Shape &wanted) {
  bool matches = shape.size() == wanted.size();
  for (size_t dim = 0; matches && dim < wanted.size(); ++dim)
    matches = shape[dim] >= 0 && (wanted[dim] == anySize || shape[dim] == wanted[dim]);
  if (!matches)
    return makeError(Code::InvalidArgument, "{} is {}, expected {}", name, shapeText(shape), shapeText(wanted));
  if (numValues != static_cast<size_t>(elementCount(shape)))
    return makeError(Code::InvalidArgument, "{} is {} but holds {} values", name, shapeText(shape), numValues);
  return {};
}

} // namespace moec::reference
