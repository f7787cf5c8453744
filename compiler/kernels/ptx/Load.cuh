// Loads whose place among others the compiler must not change.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// Loads 16 bytes; zeros, and no access, where `valid` is false. Volatile, so that a batch of loads stays a batch and
/// its latencies overlap. (ptxas still spreads the batch out to save registers unless the kernel's launch bounds say
/// that one block a multiprocessor will do.) Not `.nc`: the kernel before may still be writing when this one starts.
inline __device__ uint4 load16(const void *global, bool valid) {
  uint4 value;
  asm volatile("{ .reg .pred valid; setp.ne.u32 valid, %5, 0; mov.u32 %0, 0; mov.u32 %1, 0; mov.u32 %2, 0; "
               "mov.u32 %3, 0; @valid ld.global.v4.u32 {%0, %1, %2, %3}, [%4]; }"
               : "=&r"(value.x), "=&r"(value.y), "=&r"(value.z), "=&r"(value.w)
               : "l"(global), "r"(static_cast<uint32_t>(valid))
               : "memory");
  return value;
}

} // namespace moec::ptx
