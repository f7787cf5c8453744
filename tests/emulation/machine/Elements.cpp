#include "tests/emulation/machine/Elements.h"

#include "tests/emulation/machine/Instructions.h"

#include <cmath>
#include <memory>

namespace moec::emulation {

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

} // namespace

uint32_t packBf16(float low, float high) { return toBf16(low) | toBf16(high) << 16; }
uint32_t packF16(float low, float high) { return toF16(low) | toF16(high) << 16; }
float halfToFloat(uint16_t bits) { return f16Value(bits); }

} // namespace moec::emulation
