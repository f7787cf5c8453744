// Shadows compiler/kernels/ptx/Element.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

template <Element> struct Convert;

template <> struct Convert<Element::BF16> {
  static uint32_t pack(float low, float high) { return emulation::packBf16(low, high); }
  static float low(uint32_t packed) { return __uint_as_float(packed << 16); }
  static float high(uint32_t packed) { return __uint_as_float(packed & 0xffff0000u); }
};

template <> struct Convert<Element::F16> {
  static uint32_t pack(float low, float high) { return emulation::packF16(low, high); }
  static float half(uint16_t bits) { return emulation::halfToFloat(bits); }
  static float low(uint32_t packed) { return half(static_cast<uint16_t>(packed & 0xffff)); }
  static float high(uint32_t packed) { return half(static_cast<uint16_t>(packed >> 16)); }
};

} // namespace moec::ptx
