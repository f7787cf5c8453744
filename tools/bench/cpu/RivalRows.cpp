#include "tools/bench/cpu/RivalRows.h"

#include "runtime/device/cpu/Clones.h"
#include "runtime/weights/Convert.h"

namespace moec::bench {

namespace {

inline float load(const uint16_t *from) { return bf16ToF32(*from); }
inline float load(const float *from) { return *from; }
inline void store(float value, float *to) { *to = value; }
inline void store(float value, uint16_t *to) {
  // Finite values only: no case for NaN, which keeps the loop short.
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  *to = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/// exp(x) for |x| <= 87: 2^n times a polynomial of the rest; some 3e-7 relative.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
  const float magic = 12582912.0f; // adding it rounds to an integer
  const float n = (x * 1.44269504f + magic) - magic;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

template <typename T> inline void siluRow(const T *gateUp, T *out, uint32_t columns) {
  for (uint32_t i = 0; i < columns; ++i) {
    const float gate = load(gateUp + i);
    store(gate / (1.0f + exponential(-gate)) * load(gateUp + columns + i), out + i);
  }
}

template <typename T>
inline void sumRows(const T *const *rows, const float *weights, uint32_t count, T *out, uint32_t columns) {
  constexpr uint32_t strip = 64; // sums that stay in registers
  for (uint32_t begin = 0; begin < columns; begin += strip) {
    float sum[strip] = {};
    const uint32_t width = columns - begin < strip ? columns - begin : strip;
    for (uint32_t k = 0; k < count; ++k)
      for (uint32_t i = 0; i < width; ++i)
        sum[i] += weights[k] * load(rows[k] + begin + i);
    for (uint32_t i = 0; i < width; ++i)
      store(sum[i], out + begin + i);
  }
}

// Plain functions, since clones cannot be templates.
MOEC_CLONES void siluBf16(const uint16_t *gateUp, uint16_t *out, uint32_t columns) { siluRow(gateUp, out, columns); }
MOEC_CLONES void siluF32(const float *gateUp, float *out, uint32_t columns) { siluRow(gateUp, out, columns); }
MOEC_CLONES void sumBf16(const uint16_t *const *rows, const float *weights, uint32_t count, uint16_t *out,
                         uint32_t columns) {
  sumRows(rows, weights, count, out, columns);
}
MOEC_CLONES void sumF32(const float *const *rows, const float *weights, uint32_t count, float *out, uint32_t columns) {
  sumRows(rows, weights, count, out, columns);
}

} // namespace

void siluMultiply(const void *gateUp, void *out, uint32_t columns, DType dtype) {
  if (dtype == DType::BF16)
    siluBf16(static_cast<const uint16_t *>(gateUp), static_cast<uint16_t *>(out), columns);
  else
    siluF32(static_cast<const float *>(gateUp), static_cast<float *>(out), columns);
}

void weightedSum(const void *const *rows, const float *weights, uint32_t count, void *out, uint32_t columns,
                 DType dtype) {
  if (dtype == DType::BF16)
    sumBf16(reinterpret_cast<const uint16_t *const *>(rows), weights, count, static_cast<uint16_t *>(out), columns);
  else
    sumF32(reinterpret_cast<const float *const *>(rows), weights, count, static_cast<float *>(out), columns);
}

} // namespace moec::bench
