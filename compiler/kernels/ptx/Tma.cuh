// The bulk tensor copy engine (sm_90).
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/CachePolicy.cuh"

namespace moec {

/// The driver's CUtensorMap, opaque. Passed by value as a `__grid_constant__` parameter.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

} // namespace moec

namespace moec::ptx {

inline __device__ void prefetchTensorMap(const TensorMap *map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/// Copies the map's box at element coordinates (k, row, expert) and completes its bytes on `barrier`. What lies
/// outside the tensor is written as zeros and counted all the same.
inline __device__ void tmaLoad3d(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t expert,
                                 uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(shared),
               "l"(map), "r"(k), "r"(row), "r"(expert), "r"(barrier)
               : "memory");
}

/// As tmaLoad3d for a map of rows in groups of eight and of k in parts: (k within its part, row of eight, part, group).
/// The box starts at a group's first row and a part's first element.
inline __device__ void tmaLoadRowGroups(uint32_t shared, const TensorMap *map, uint32_t part, uint32_t group,
                                        uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %2, %3, %4}], [%5];" ::"r"(shared),
               "l"(map), "r"(0), "r"(part), "r"(group), "r"(barrier)
               : "memory");
}

/// As tmaLoadRowGroups for a map of gate and up: (k within its part, row of eight, part, gate or up, group).
inline __device__ void tmaLoadGateUpGroups(uint32_t shared, const TensorMap *map, uint32_t part, uint32_t group,
                                           uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %2, %3, %2, %4}], [%5];" ::"r"(shared),
               "l"(map), "r"(0), "r"(part), "r"(group), "r"(barrier)
               : "memory");
}

/// As tmaLoad3d, at (k, row).
inline __device__ void tmaLoad2d(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared),
               "l"(map), "r"(k), "r"(row), "r"(barrier)
               : "memory");
}

/// As tmaLoad2d, and the second-level cache keeps it as `policy` says.
inline __device__ void tmaLoad2d(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t barrier,
                                 CachePolicy policy) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
               "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared),
               "l"(map), "r"(k), "r"(row), "r"(barrier), "l"(policy.bits)
               : "memory");
}

/// As tmaLoad2d, to the same place of all blocks of the cluster whose bit is set, completed on the barrier of each.
inline __device__ void tmaLoad2dToAll(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t barrier,
                                      uint16_t blocks, CachePolicy policy) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
               ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(shared),
               "l"(map), "r"(k), "r"(row), "r"(barrier), "h"(blocks), "l"(policy.bits)
               : "memory");
}

/// As tmaLoad3d for a map of gate and up rows interleaved by eight: (k, row of eight, gate or up, group, expert). The
/// box starts at a group's first gate row.
inline __device__ void tmaLoadInterleaved(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t group,
                                          uint32_t expert, uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1, {%2, %3, %3, %4, %5}], [%6];" ::"r"(shared),
               "l"(map), "r"(k), "r"(0), "r"(group), "r"(expert), "r"(barrier)
               : "memory");
}

/// Copies a box from shared to device memory at (column, row), as part of this thread's open group of such copies; what
/// lies outside the tensor is left out. fenceProxyAsync() in the writing threads and a barrier come before.
inline __device__ void tmaStore2d(const TensorMap *map, uint32_t column, uint32_t row, uint32_t shared) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(column),
               "r"(row), "r"(shared)
               : "memory");
}

inline __device__ void bulkCommit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

/// Waits until this thread's groups have read their shared memory.
inline __device__ void bulkWaitRead() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

/// Waits until this thread's groups are done.
inline __device__ void bulkWait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

} // namespace moec::ptx
