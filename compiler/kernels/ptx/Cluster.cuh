// Blocks of a cluster: they run at the same time and reach each other's shared memory (sm_90).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// This block's number in its cluster.
inline __device__ uint32_t clusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// Waits until all blocks of the cluster are here with their barriers initialised (fenceBarrierInit). Orders nothing
/// else.
inline __device__ void clusterBegin() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/// Waits until all threads of the cluster are here, and sees what they have written before, to each other's shared
/// memory too.
inline __device__ void clusterSync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/// Before a block ends: waits until all threads of the cluster have done what they do to each other's shared memory.
/// Without the release an arrival can still be on its way to a block that has gone, which ends the launch.
inline __device__ void clusterEnd() { clusterSync(); }

/// Where a block of the cluster has what this one has at `shared`; for the instructions below.
inline __device__ uint32_t sharedOf(uint32_t shared, uint32_t rank) {
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
  return address;
}

/// barrierArrive() at a block's barrier.
inline __device__ void barrierArriveAt(uint32_t barrier, uint32_t rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(sharedOf(barrier, rank)) : "memory");
}

/// Writes to the shared memory of a block that has started (clusterBegin); seen there behind clusterSync().
inline __device__ void storeSharedAt(uint32_t shared, uint16_t value, uint32_t rank) {
  asm volatile("st.shared::cluster.u16 [%0], %1;" ::"r"(sharedOf(shared, rank)), "h"(value) : "memory");
}

/// Writes 16 bytes to a block's shared memory and completes them on its barrier.
inline __device__ void storeAsync16(uint32_t shared, uint4 value, uint32_t barrier, uint32_t rank) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                   sharedOf(shared, rank)),
               "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(sharedOf(barrier, rank))
               : "memory");
}

} // namespace moec::ptx
