// Memory order between blocks (sm_70).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// Adds, and returns what was there. What this thread did or saw before is seen by whoever acquires the sum, and what
/// others did before they added is seen after this.
inline __device__ uint32_t addAcquireRelease(uint32_t *address, uint32_t value) {
  uint32_t before;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(before) : "l"(address), "r"(value) : "memory");
  return before;
}

inline __device__ uint32_t loadAcquire(const uint32_t *address) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

} // namespace moec::ptx
