// What blocks of a cluster, and launches of a stream, say to each other (sm_90).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// Programmatic dependent launch: lets the next kernel of the stream start once all blocks have said so or ended. It waits
/// for this one by itself before it reads or writes anything, so launches overlap and results do not. Nothing before
/// sm_90, and nothing where that launch has no such attribute.
inline __device__ void startNext() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Waits until the kernel before this one is done and its writes are seen. Every kernel of ours does, in all threads.
inline __device__ void waitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// This block's place in its cluster.
inline __device__ uint32_t clusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// Waits for all threads of all blocks of the cluster; orders their shared memory.
inline __device__ void clusterSync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/// Arrives at the barrier at the same place in the shared memory of another block of the cluster. Orders no memory there:
/// enough for "I have read this stage", and `.release.cluster` would make each arrival wait for a GPU-wide memory barrier
/// (MEMBAR.ALL.GPU in SASS; it made the clustered GEMM 1.4 times slower).
inline __device__ void barrierArriveRemote(uint32_t barrier, uint32_t rank) {
  asm volatile("{ .reg .b32 remote; mapa.shared::cluster.u32 remote, %0, %1; "
               "mbarrier.arrive.shared::cluster.b64 _, [remote]; }" ::"r"(barrier),
               "r"(rank)
               : "memory");
}

} // namespace moec::ptx
