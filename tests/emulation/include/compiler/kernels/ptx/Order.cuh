// Shadows compiler/kernels/ptx/Order.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline uint32_t addAcquireRelease(uint32_t *address, uint32_t value) {
  return emulation::atomicAddAcquireRelease(address, value);
}
inline void addRelease(uint32_t *address, uint32_t value) { emulation::addRelease(address, value); }
inline uint32_t loadRelaxed(const uint32_t *address) { return emulation::loadRelaxed(address); }
inline void fenceAcquire() { emulation::fenceAcquire(); }
inline uint32_t loadAcquire(const uint32_t *address) { return emulation::loadAcquire(address); }

} // namespace moec::ptx
