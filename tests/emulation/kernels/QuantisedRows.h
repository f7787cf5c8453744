// Quantised rows against those expected.
#pragma once

#include "tools/bench/gpu/Fp8Reference.h"

#include <algorithm>
#include <fmt/format.h>
#include <string>

namespace moec::emulation {

/// Whether quantised rows and their scales are those expected, bit for bit but for the kind of a NaN. Empty, or what is
/// wrong.
inline std::string rowsDifference(const bench::Fp8Rows &expected, const uint8_t *elements, const float *scales,
                                  size_t scaleStride) {
  for (size_t i = 0; i < expected.elements.size(); ++i) {
    const bool bothNan = (elements[i] & 0x7f) == 0x7f && (expected.elements[i] & 0x7f) == 0x7f;
    if (elements[i] != expected.elements[i] && !bothNan)
      return fmt::format("element {}: {:#x}, expected {:#x}", i, elements[i], expected.elements[i]);
  }
  const size_t rows = expected.elements.size() / std::max(1u, expected.columns);
  for (size_t block = 0; block < (expected.columns + 127) / 128; ++block)
    for (size_t row = 0; row < rows; ++row)
      if (scales[block * scaleStride + row] != expected.scales[block * expected.stride + row])
        return fmt::format("scale of row {}, block {}: {}, expected {}", row, block, scales[block * scaleStride + row],
                           expected.scales[block * expected.stride + row]);
  return "";
}

} // namespace moec::emulation
