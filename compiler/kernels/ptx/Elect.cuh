// One thread of a warp, as the compiler knows it (sm_90).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// True in one lane of a warp whose lanes are all here, always the same one. The copy engine's instructions take their
/// operands from uniform registers: under this condition the compiler moves them there as they are, while under one
/// like `threadIdx.x == 0` it loops over the lanes that might be active, which costs 100 clocks a copy instead of 8
/// to 20.
inline __device__ bool elect() {
  uint32_t elected;
  asm volatile(
      "{ .reg .pred elected; .reg .b32 lane; elect.sync lane|elected, 0xffffffff; selp.u32 %0, 1, 0, elected; }"
      : "=r"(elected));
  return elected;
}

} // namespace moec::ptx
