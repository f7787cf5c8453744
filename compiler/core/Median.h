// The middle of some numbers.
#pragma once

#include <algorithm>
#include <vector>

namespace moec {

/// The median: of an even number of values the mean of the middle two. `values` is not empty.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

} // namespace moec
