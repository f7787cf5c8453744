#include "runtime/device/cpu/Rows.h"

#include "runtime/device/cpu/Clones.h"
#include "runtime/weights/Convert.h"

#include <cmath>
#include <cstring>

namespace moec {
namespace {

constexpr uint32_t lanes = 16; // partial sums, so that a dot product vectorises without reordering allowed

MOEC_CLONES void roundToBf16(const float *from, uint16_t *to, uint32_t columns) {
  for (uint32_t i = 0; i < columns; ++i)
    to[i] = f32ToBf16(from[i]);
}

MOEC_CLONES float dotBf16(const uint16_t *row, const float *gate, uint32_t columns) {
  float sums[lanes] = {};
  uint32_t whole = columns / lanes * lanes;
  for (uint32_t i = 0; i < whole; i += lanes)
    for (uint32_t lane = 0; lane < lanes; ++lane)
      sums[lane] += bf16ToF32(row[i + lane]) * gate[i + lane];
  for (uint32_t i = whole; i < columns; ++i)
    sums[i - whole] += bf16ToF32(row[i]) * gate[i];
  float sum = 0;
  for (float part : sums)
    sum += part;
  return sum;
}

MOEC_CLONES float dotF32(const float *row, const float *gate, uint32_t columns) {
  float sums[lanes] = {};
  uint32_t whole = columns / lanes * lanes;
  for (uint32_t i = 0; i < whole; i += lanes)
    for (uint32_t lane = 0; lane < lanes; ++lane)
      sums[lane] += row[i + lane] * gate[i + lane];
  for (uint32_t i = whole; i < columns; ++i)
    sums[i - whole] += row[i] * gate[i];
  float sum = 0;
  for (float part : sums)
    sum += part;
  return sum;
}

} // namespace

void stageRow(const void *from, DType dtype, void *to, DType compute, uint32_t columns) {
  if (dtype == compute)
    std::memcpy(to, from, uint64_t{columns} * byteSize(compute));
  else
    convert(from, dtype, to, compute, columns);
  // Layers of other widths share the buffer, so the padding is not zero by itself.
  if (columns % 2 != 0)
    std::memset(static_cast<char *>(to) + uint64_t{columns} * byteSize(compute), 0, byteSize(compute));
}

float sharedGateOf(const void *row, DType compute, const float *gate, uint32_t columns) {
  float dot = compute == DType::BF16 ? dotBf16(static_cast<const uint16_t *>(row), gate, columns)
                                     : dotF32(static_cast<const float *>(row), gate, columns);
  return 1.0f / (1.0f + std::exp(-dot));
}

void storeRow(const float *from, void *to, DType dtype, uint32_t columns) {
  if (dtype == DType::F32)
    std::memcpy(to, from, uint64_t{columns} * sizeof(float));
  else if (dtype == DType::BF16)
    roundToBf16(from, static_cast<uint16_t *>(to), columns);
  else
    convert(from, DType::F32, to, dtype, columns);
}

} // namespace moec
