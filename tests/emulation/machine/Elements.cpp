#include "tests/emulation/machine/Elements.h"

#include "tests/emulation/machine/Instructions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

namespace moec::emulation {

float e4m3Value(uint8_t bits) {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table{};
    for (int i = 0; i < 256; ++i) {
      const int exponent = i >> 3 & 15, fraction = i & 7;
      const float magnitude = (i & 127) == 127 ? std::numeric_limits<float>::quiet_NaN()
                              : exponent == 0  ? std::ldexp(static_cast<float>(fraction), -9)
                                               : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
      table[static_cast<size_t>(i)] = i & 128 ? -magnitude : magnitude;
    }
    return table;
  }();
  return values[bits];
}

float f16Value(uint16_t bits) {
  // A table: the conversion is a library call on hosts without F16C.
  static const std::unique_ptr<float[]> values = [] {
    auto table = std::make_unique<float[]>(65536);
    for (uint32_t i = 0; i < 65536; ++i)
      table[i] = static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(i)));
    return table;
  }();
  return values[bits];
}

namespace {

/// To nearest, ties to even; any NaN becomes the canonical one. PTX ISA, "cvt", .rn.bf16x2.
uint32_t toBf16(float value) {
  if (std::isnan(value))
    return 0x7fff;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

uint32_t toF16(float value) {
  return std::isnan(value) ? 0x7fff : std::bit_cast<uint16_t>(static_cast<_Float16>(value));
}

/// To nearest, ties to even, 448 at most; any NaN becomes 0x7f. PTX ISA, "cvt", .rn.satfinite.e4m3x2.
uint32_t toE4M3(float value) {
  if (std::isnan(value))
    return 0x7f;
  const float magnitude = std::min(std::abs(value), 448.0f);
  const int exponent = magnitude < 0x1p-6f ? -6 : std::ilogb(magnitude);
  // In steps of the last place: 8 .. 16 of them from 2^-6 on, below as many as there are; a carry runs into the
  // exponent.
  const auto steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, 3 - exponent)));
  return (static_cast<uint32_t>(exponent + 6) * 8 + steps) | (std::signbit(value) ? 0x80 : 0);
}

} // namespace

uint32_t packBf16(float low, float high) { return toBf16(low) | toBf16(high) << 16; }
uint32_t packF16(float low, float high) { return toF16(low) | toF16(high) << 16; }
uint32_t packE4M3(float a, float b, float c, float d) {
  return toE4M3(a) | toE4M3(b) << 8 | toE4M3(c) << 16 | toE4M3(d) << 24;
}
float halfToFloat(uint16_t bits) { return f16Value(bits); }

} // namespace moec::emulation
