#include "runtime/weights/Text.h"

#include <fmt/format.h>

namespace moec {

std::string inQuotes(std::string_view text) {
  constexpr size_t longest = 160;
  std::string result = "'";
  for (char c : text.substr(0, longest)) {
    if (c >= 0x20 && c < 0x7f)
      result += c;
    else
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  if (text.size() > longest)
    result += "...";
  return result + "'";
}

std::string shapeText(std::span<const int64_t> shape) {
  constexpr size_t mostDims = 16;
  std::string result = "[";
  for (size_t dim = 0; dim < shape.size() && dim < mostDims; ++dim)
    result += fmt::format("{}{}", dim ? ", " : "", shape[dim]);
  return result + (shape.size() > mostDims ? ", ...]" : "]");
}

} // namespace moec
