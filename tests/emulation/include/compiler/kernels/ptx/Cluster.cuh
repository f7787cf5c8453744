// Shadows compiler/kernels/ptx/Cluster.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Cuda.h"

namespace moec::ptx {

inline uint32_t clusterRank() { return emulation::clusterRank(); }
inline void clusterBegin() { emulation::clusterBarrier(false); }
inline void clusterSync() { emulation::clusterBarrier(true); }
inline void clusterEnd() { clusterSync(); }
inline void storeSharedAt(uint32_t shared, uint16_t value, uint32_t rank) {
  emulation::storeSharedAt(shared, value, rank);
}
inline void barrierArriveAt(uint32_t barrier, uint32_t rank) { emulation::barrierArriveAt(barrier, rank); }
inline void storeAsync16(uint32_t shared, uint4 value, uint32_t barrier, uint32_t rank) {
  emulation::storeAsync16(shared, {value.x, value.y, value.z, value.w}, barrier, rank);
}

} // namespace moec::ptx
