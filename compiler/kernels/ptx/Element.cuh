// Conversions between f32 and the two-byte elements. Packed pairs hold the lower column in the lower half.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

template <Element> struct Convert;

template <> struct Convert<Element::BF16> {
  /// PTX: cvt.rn.bf16x2.f32 (sm_80); its first source becomes the upper half.
  static __device__ uint32_t pack(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
  }
  static __device__ float low(uint32_t packed) { return __uint_as_float(packed << 16); }
  static __device__ float high(uint32_t packed) { return __uint_as_float(packed & 0xffff0000u); }
};

template <> struct Convert<Element::F16> {
  /// PTX: cvt.rn.f16x2.f32 (sm_80)
  static __device__ uint32_t pack(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
  }
  static __device__ float half(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
  }
  static __device__ float low(uint32_t packed) { return half(static_cast<uint16_t>(packed & 0xffff)); }
  static __device__ float high(uint32_t packed) { return half(static_cast<uint16_t>(packed >> 16)); }
};

} // namespace moec::ptx
