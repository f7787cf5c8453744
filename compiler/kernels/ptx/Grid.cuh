// What launches of a stream say to each other (sm_90).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// Programmatic dependent launch: lets the next kernel of the stream start once all blocks have said so or ended. It
/// waits for this one by itself before it reads or writes anything, so launches overlap and results do not. Nothing
/// before sm_90, and nothing where that launch has no such attribute.
inline __device__ void startNext() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Waits until the kernel before this one is done and its writes are seen. Every kernel of ours does before it reads
/// what the one before wrote.
inline __device__ void waitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Adds one to a counter in device memory, modulo `limit`, and returns what it was. Unlike an addition, which the
/// compiler sums over the warp first, nobody waits for the answer before it is used.
inline __device__ uint32_t drawTicket(uint32_t *counter, uint32_t limit) {
  uint32_t ticket;
  asm volatile("atom.global.inc.u32 %0, [%1], %2;" : "=r"(ticket) : "l"(counter), "r"(limit - 1) : "memory");
  return ticket;
}

} // namespace moec::ptx
