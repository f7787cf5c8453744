// The bulk tensor copy engine (sm_90).
#pragma once

#include "compiler/kernels/KernelAbi.h"

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

} // namespace moec::ptx
