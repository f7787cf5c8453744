// mbarrier and proxy fences (sm_90).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

inline __device__ void barrierInit(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the async proxy (TMA); a block barrier must follow for the other threads.
inline __device__ void fenceBarrierInit() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

inline __device__ void barrierArrive(uint32_t barrier) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(barrier) : "memory");
}

/// One arrival, and `bytes` more that asynchronous copies must bring before the phase completes.
inline __device__ void barrierArriveExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared.b64 state, [%0], %1; }" ::"r"(barrier), "r"(bytes)
               : "memory");
}

/// Waits for the phase with the given parity to complete.
inline __device__ void barrierWait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile("{ .reg .pred done; mbarrier.try_wait.parity.shared.b64 done, [%1], %2; selp.u32 %0, 1, 0, done; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  } while (!done);
}

/// A barrier among `threads` threads of the block, a multiple of 32. Number 0 is __syncthreads.
template <uint32_t Number, uint32_t Threads> __device__ void namedBarrier() {
  asm volatile("bar.sync %0, %1;" ::"n"(Number), "n"(Threads) : "memory");
}

/// Orders what this thread knows of shared memory before what the async proxy (wgmma, TMA) does next for it.
inline __device__ void fenceProxyAsync() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// The same of device memory.
inline __device__ void fenceProxyAsyncGlobal() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

} // namespace moec::ptx
