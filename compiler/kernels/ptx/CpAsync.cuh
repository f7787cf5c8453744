// cp.async (sm_80): copies from device to shared memory that do not pass through registers.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/CachePolicy.cuh"

namespace moec::ptx {

/// Copies 16 bytes; where `valid` is false nothing is read and zeros are written. Both addresses 16-byte aligned.
inline __device__ void cpAsync16(uint32_t shared, const void *global, bool valid) {
  const uint32_t bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

/// As cpAsync16, and the second-level cache keeps it as `policy` says.
inline __device__ void cpAsync16(uint32_t shared, const void *global, bool valid, CachePolicy policy) {
  const uint32_t bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(shared), "l"(global),
               "r"(bytes), "l"(policy.bits)
               : "memory");
}

/// As cpAsync16, of 8 bytes.
inline __device__ void cpAsync8(uint32_t shared, const void *global, bool valid) {
  const uint32_t bytes = valid ? 8 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

/// As cpAsync16, of 4 bytes.
inline __device__ void cpAsync4(uint32_t shared, const void *global, bool valid) {
  const uint32_t bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

/// Closes this thread's group of copies.
inline __device__ void cpAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most `Pending` of this thread's groups are still under way.
template <uint32_t Pending> __device__ void cpAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Arrives at `barrier` once all copies that this thread has issued are done; the arrival is one of those that the
/// barrier was initialised for (.noinc).
inline __device__ void cpAsyncArrive(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}

} // namespace moec::ptx
