// e4m3 (sm_89).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// Four e4m3 elements, the first in the lowest byte, each to nearest even; beyond 448 is 448, NaN
/// stays NaN. PTX: cvt.rn.satfinite.e4m3x2.f32, whose first source becomes the upper byte.
inline __device__ uint32_t packE4M3(float a, float b, float c, float d) {
  uint32_t packed;
  asm("{ .reg .b16 low, high; cvt.rn.satfinite.e4m3x2.f32 low, %2, %1; cvt.rn.satfinite.e4m3x2.f32 "
      "high, %4, %3; "
      "mov.b32 %0, {low, high}; }"
      : "=r"(packed)
      : "f"(a), "f"(b), "f"(c), "f"(d));
  return packed;
}

} // namespace moec::ptx
