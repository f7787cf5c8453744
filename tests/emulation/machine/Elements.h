// Values of two-byte elements.
#pragma once

#include <bit>
#include <cstdint>

namespace moec::emulation {

inline float bf16Value(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
float f16Value(uint16_t bits);
inline float elementValue(uint16_t bits, bool bf16) { return bf16 ? bf16Value(bits) : f16Value(bits); }

} // namespace moec::emulation
