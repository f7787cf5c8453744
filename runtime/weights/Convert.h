// Conversions between the floating-point types of weights.
#pragma once

#include "compiler/core/LayerShape.h"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace moec {

/// bf16 is the upper half of an f32, so this is exact.
inline float bf16ToF32(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

/// Rounds to nearest, ties to even. Beyond the range: infinity. A NaN stays one: quiet, its payload cut.
inline uint16_t f32ToBf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  bool isNan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>(isNan ? (bits >> 16) | 0x40u : rounded);
}

/// Exact, subnormals, infinities and NaN payloads included.
inline float f16ToF32(uint16_t value) {
  uint32_t sign = (value & 0x8000u) << 16, magnitude = value & 0x7fffu;
  // The exponent's bias grows from 15 to 127; infinities and NaNs go from the top of one range to that of the other.
  uint32_t normal = (magnitude << 13) + (magnitude >= 0x7c00u ? 224u << 23 : 112u << 23);
  // A subnormal is so many steps of 2^-24, which is a normal f32: right even where the host flushes subnormals.
  uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  return std::bit_cast<float>(sign | (magnitude < 0x400u ? subnormal : normal));
}

/// Rounds to nearest, ties to even, into subnormals too; from 65520 on: infinity. NaNs as f32ToBf16.
inline uint16_t f32ToF16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // One step of 0.5f's mantissa is 2^-24, one step of an f16 subnormal, so the addition does the rounding.
  uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t nan = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  uint32_t finite = magnitude < 0x38800000u ? subnormal : normal; // below 2^-14
  uint32_t large = magnitude > 0x7f800000u ? nan : 0x7c00u;
  return static_cast<uint16_t>(sign | (magnitude >= 0x47800000u ? large : finite)); // from 65536
}

/// e4m3 (OCP FP8, "fn": no infinities, one NaN a sign). Exact: its bits, moved to an f32's places, are 2^-120 of the
/// value, subnormals included.
inline float e4m3ToF32(uint8_t value) {
  uint32_t sign = (value & 0x80u) << 24, magnitude = value & 0x7fu;
  float finite = std::bit_cast<float>(sign | magnitude << 20) * 0x1p120f;
  return magnitude == 0x7fu ? std::bit_cast<float>(sign | 0x7fc00000u) : finite;
}

/// Rounds to nearest, ties to even, into subnormals too; beyond 448: 448. Infinities, which e4m3 has not, become NaN as
/// NaNs do (0x7f, without a sign): 448 would pass for a number.
inline uint8_t f32ToE4M3(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  uint32_t sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7fffffffu;
  // The exponent's bias shrinks from 127 to 7.
  uint32_t normal = (magnitude - (120u << 23) + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20;
  // One step of 2^14's mantissa is 2^-9, one step of an e4m3 subnormal, so the addition does the rounding.
  uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0x1p14f) - 0x46800000u;
  uint32_t finite = magnitude < 0x3c800000u ? subnormal : normal < 0x7eu ? normal : 0x7eu; // below 2^-6
  return static_cast<uint8_t>(magnitude >= 0x7f800000u ? 0x7fu : sign | finite);
}

/// e2m1 (OCP MX, FP4), in the low four bits: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
inline float e2m1ToF32(uint8_t value) {
  return std::bit_cast<float>((value & 8u) << 28 | (value & 7u) << 22) * 0x1p126f;
}

/// e8m0 (OCP MX, a scale): 2^(value - 127); 255 is NaN.
inline float e8m0ToF32(uint8_t value) {
  uint32_t normal = static_cast<uint32_t>(value) << 23;
  return std::bit_cast<float>(value == 0 ? 0x00400000u : value == 255 ? 0x7fc00000u : normal);
}

/// Converts `count` elements. `from` and `to` need no alignment and must not overlap. Between bf16 and f16 the
/// value goes through f32, which holds both exactly, so it is rounded once.
void convert(const void *from, DType fromType, void *to, DType toType, size_t count);

/// Writes `count` e4m3 elements times the scale that they share, rounded to f32. Must not overlap.
void widenE4M3(const uint8_t *from, float scale, float *to, size_t count);

} // namespace moec
