// Shadows compiler/kernels/ptx/Tma.cuh. Tests make the maps with machine/TensorMap.h.
#pragma once

#include "compiler/kernels/KernelAbi.h"
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
  emulation::tmaLoad3d(shared, map, k, row, expert, barrier);
}

} // namespace moec::ptx
