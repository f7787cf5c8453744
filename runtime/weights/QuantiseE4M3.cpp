#include "runtime/weights/QuantiseE4M3.h"

#include "compiler/kernels/Fp8Abi.h"
#include "runtime/device/cpu/Clones.h"
#include "runtime/weights/Convert.h"

#include <algorithm>
#include <vector>

namespace moec {
namespace {

/// The bits of the largest finite magnitude, or `most` if that is larger. Compared as integers, which order as the
/// numbers do; signed, since SSE2 compares no others.
MOEC_CLONES int32_t largest(const float *__restrict from, uint64_t count, int32_t most) {
  for (uint64_t i = 0; i < count; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(from[i]) & 0x7fffffff;
    most = std::max(most, magnitude < 0x7f800000 ? magnitude : 0);
  }
  return most;
}

MOEC_CLONES void codes(const float *__restrict from, uint64_t count, float scale, uint8_t *__restrict to) {
  for (uint64_t i = 0; i < count; ++i)
    to[i] = f32ToE4M3(from[i] / scale);
}

} // namespace

void quantiseE4M3Rows(std::span<const float> values, uint64_t columns, uint8_t *elements, float *scales) {
  for (uint64_t first = 0; first < columns; first += kFp8Block) {
    const uint64_t count = std::min<uint64_t>(kFp8Block, columns - first);
    int32_t most = std::bit_cast<int32_t>(kFp8Least);
    for (uint64_t at = first; at < values.size(); at += columns)
      most = largest(values.data() + at, count, most);
    const float scale = std::bit_cast<float>(most) / kFp8Most;
    scales[first / kFp8Block] = scale;
    for (uint64_t at = first; at < values.size(); at += columns)
      codes(values.data() + at, count, scale, elements + at);
  }
}

void widenE4M3Rows(const uint8_t *elements, const float *scales, uint64_t columns, std::span<float> values) {
  for (uint64_t at = 0; at < values.size(); at += columns)
    for (uint64_t first = 0; first < columns; first += kFp8Block) {
      const uint64_t count = std::min<uint64_t>(kFp8Block, columns - first);
      widenE4M3(elements + at + first, scales[first / kFp8Block], values.data() + at + first, count);
    }
}

Status quantiseE4M3(const BlockGrid &grid, const RowReader &readRows, std::span<uint8_t> elements,
                    std::span<float> scales) {
  if (elements.empty())
    return Status();
  std::vector<float> strip(std::min<uint64_t>(kFp8Block, grid.rows) * grid.columns);
  for (uint64_t first = 0; first < grid.rows; first += kFp8Block) {
    const auto values = std::span(strip).first(std::min<uint64_t>(kFp8Block, grid.rows - first) * grid.columns);
    if (Status status = readRows(first, values); !status.ok())
      return status;
    quantiseE4M3Rows(values, grid.columns, elements.data() + first * grid.columns,
                     scales.data() + first / kFp8Block * grid.blockColumns());
  }
  return Status();
}

void roundThroughE4M3(std::span<float> values, uint64_t columns) {
  if (values.empty())
    return;
  const uint64_t most = std::min<uint64_t>(values.size(), kFp8Block * columns);
  std::vector<uint8_t> elements(most);
  std::vector<float> scales((columns + kFp8Block - 1) / kFp8Block);
  for (uint64_t first = 0; first < values.size(); first += most) {
    const auto strip = values.subspan(first, std::min<uint64_t>(most, values.size() - first));
    quantiseE4M3Rows(strip, columns, elements.data(), scales.data());
    widenE4M3Rows(elements.data(), scales.data(), columns, strip);
  }
}

} // namespace moec
