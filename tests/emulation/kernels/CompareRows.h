// Rows of a layer against those expected.
#pragma once

#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <string>
#include <vector>

namespace moec::emulation {

/// Empty, or the first element that is not within `bound` of what is expected and of that's root mean square. NaN is
/// expected of the token that has one, and of no other.
inline std::string compareRows(const char *what, const std::vector<double> &expected,
                               const std::function<double(size_t)> &got, double bound) {
  double squares = 0;
  for (double value : expected)
    squares += std::isnan(value) ? 0 : value * value;
  const double rms = std::sqrt(squares / static_cast<double>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double value = got(i);
    if (std::isnan(expected[i]) ? !std::isnan(value)
                                : !(std::abs(value - expected[i]) <= bound * (std::abs(expected[i]) + rms)))
      return fmt::format("{}: element {} is {}, expected {}", what, i, value, expected[i]);
  }
  return "";
}

inline std::string compareRows(const char *what, const std::vector<double> &expected, const uint16_t *got,
                               double bound) {
  return compareRows(what, expected, [&](size_t i) { return bench::elementValue(got[i], true); }, bound);
}

} // namespace moec::emulation
