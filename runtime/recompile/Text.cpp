#include "runtime/recompile/Text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace moec {

std::string textOfNs(double ns) {
  double size = ns < 0 ? -ns : ns;
  if (size < 1e3)
    return fmt::format("{:.0f} ns", ns);
  if (size < 1e6)
    return fmt::format("{:.1f} us", ns / 1e3);
  if (size < 1e9)
    return fmt::format("{:.2f} ms", ns / 1e6);
  return fmt::format("{:.2f} s", ns / 1e9);
}

std::string textOfShare(double share) { return fmt::format("{:.1f} %", share * 100); }

std::string textOfList(std::span<const uint32_t> numbers, size_t most) {
  if (numbers.size() <= most)
    return fmt::format("{}", fmt::join(numbers, ", "));
  return fmt::format("{} and {} more", fmt::join(numbers.first(most), ", "), numbers.size() - most);
}

std::string textOfHeights(std::span<const uint16_t> heights) { return fmt::format("{{{}}}", fmt::join(heights, ",")); }

} // namespace moec
