#include "runtime/PackBudget.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace moec {

Result<PackBudget> PackBudget::parse(const std::string &text) {
  struct Unit {
    const char *suffix;
    double bytes; // 0: per cent
  };
  constexpr Unit units[] = {{"%", 0}, {"", 1}, {"B", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
  double value = 0;
  const char *end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
  for (const Unit &unit : units) {
    if (error != std::errc() || std::string(rest, end) != unit.suffix || value < 0 || !std::isfinite(value))
      continue;
    PackBudget budget;
    if (unit.bytes == 0 && value <= 100)
      budget.share = value / 100;
    else if (unit.bytes != 0 && value * unit.bytes < 0x1p63)
      budget.bytes = static_cast<uint64_t>(value * unit.bytes);
    else
      break;
    return budget;
  }
  return makeError(Code::InvalidArgument,
                   "'{}' is no pack budget: give 0% to 100%, or bytes as 1000000, 512MiB or 2GiB", text);
}

uint64_t PackBudget::ofLayer(uint64_t layerBytes, uint64_t allBytes) const {
  double part = bytes == UINT64_MAX ? share
                : allBytes == 0     ? 0
                                    : static_cast<double>(bytes) / static_cast<double>(allBytes);
  return static_cast<uint64_t>(static_cast<double>(layerBytes) * std::min(part, 1.0));
}

} // namespace moec
