// Values of elements of one and two bytes.
#pragma once

#include <bit>
#include <cstdint>

namespace moec::emulation {

inline float bf16Value(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
float f16Value(uint16_t bits);
/// PTX ISA, "Alternate Floating-Point Data Formats", e4m3: no infinities, NaN is all ones below the sign.
float e4m3Value(uint8_t bits);
inline float elementValue(uint16_t bits, bool bf16) { return bf16 ? bf16Value(bits) : f16Value(bits); }

} // namespace moec::emulation
