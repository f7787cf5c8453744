// How long the second-level cache keeps what a copy has read (sm_80).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

struct CachePolicy {
  uint64_t bits;
};

/// For what is read again and again while much else passes by.
inline __device__ CachePolicy keepLong() {
  CachePolicy policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0;" : "=l"(policy.bits)); // volatile: once, not at each use
  return policy;
}

} // namespace moec::ptx
