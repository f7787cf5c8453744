#include "runtime/device/Noise.h"

#include "runtime/weights/Convert.h"

#include <cmath>
#include <limits>

namespace moec {

float noise(uint64_t index) {
  uint64_t z = (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>(static_cast<int64_t>(z ^ (z >> 31)) >> 40) * 0x1p-23f;
}

std::vector<std::byte> noiseRows(uint32_t tokens, uint32_t columns, DType dtype) {
  std::vector<float> values(uint64_t{tokens} * columns);
  for (uint64_t i = 0; i < values.size(); ++i)
    values[i] = noise(i);
  std::vector<std::byte> rows(values.size() * byteSize(dtype));
  convert(values.data(), DType::F32, rows.data(), dtype, values.size());
  return rows;
}

double relativeDistance(const std::byte *a, const std::byte *reference, uint64_t bytes, DType dtype) {
  const uint64_t count = bytes / byteSize(dtype);
  std::vector<float> x(count), y(count);
  convert(a, dtype, x.data(), DType::F32, count);
  convert(reference, dtype, y.data(), DType::F32, count);
  double difference = 0, norm = 0;
  for (uint64_t i = 0; i < count; ++i) {
    difference += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
    norm += double{y[i]} * y[i];
  }
  const double result = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  return std::isfinite(result) ? result : std::numeric_limits<double>::infinity();
}

} // namespace moec
