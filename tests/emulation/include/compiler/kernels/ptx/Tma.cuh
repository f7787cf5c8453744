// Shadows compiler/kernels/ptx/Tma.cuh. Tests make the maps with machine/TensorMap.h.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/CachePolicy.cuh"
#include "tests/emulation/machine/Instructions.h"

namespace moec {

struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

} // namespace moec

namespace moec::ptx {

inline void prefetchTensorMap(const TensorMap *) {}
inline void tmaLoad3d(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t expert,
                      uint32_t barrier) {
  emulation::tmaLoad(shared, map, {k, row, expert}, barrier);
}
inline void tmaLoadRowGroups(uint32_t shared, const TensorMap *map, uint32_t part, uint32_t group, uint32_t barrier) {
  emulation::tmaLoad(shared, map, {0, 0, part, group}, barrier);
}
inline void tmaLoadGateUpGroups(uint32_t shared, const TensorMap *map, uint32_t part, uint32_t group,
                                uint32_t barrier) {
  emulation::tmaLoad(shared, map, {0, 0, part, 0, group}, barrier);
}
inline void tmaLoad2d(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t barrier) {
  emulation::tmaLoad(shared, map, {k, row}, barrier);
}
inline void tmaLoad2d(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t barrier, CachePolicy) {
  tmaLoad2d(shared, map, k, row, barrier);
}
inline void tmaLoad2dToAll(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t row, uint32_t barrier,
                           uint16_t blocks, CachePolicy) {
  emulation::tmaLoadToAll(shared, map, {k, row}, barrier, blocks);
}
inline void tmaLoadInterleaved(uint32_t shared, const TensorMap *map, uint32_t k, uint32_t group, uint32_t expert,
                               uint32_t barrier) {
  emulation::tmaLoad(shared, map, {k, 0, 0, group, expert}, barrier);
}
inline void tmaStore2d(const TensorMap *map, uint32_t column, uint32_t row, uint32_t shared) {
  emulation::tmaStore(map, {column, row}, shared);
}
inline void bulkCommit() { emulation::bulkCommit(); }
inline void bulkWaitRead() { emulation::bulkWait(0, true); }
inline void bulkWait() { emulation::bulkWait(0, false); }

} // namespace moec::ptx
