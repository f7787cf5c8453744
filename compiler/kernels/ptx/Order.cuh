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

/// As addAcquireRelease, for who wants no answer and sees nothing.
inline __device__ void addRelease(uint32_t *address, uint32_t value) {
  asm volatile("red.add.release.gpu.global.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}

/// What others have left there. fenceAcquire() behind it makes what they did before they released it seen.
inline __device__ uint32_t loadRelaxed(const uint32_t *address) {
  uint32_t value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}
inline __device__ void fenceAcquire() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

inline __device__ uint32_t loadAcquire(const uint32_t *address) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

} // namespace moec::ptx
