// Shadows compiler/kernels/ptx/Order.cuh. Blocks run one after the other here, so order between them is not modelled.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline uint32_t addAcquireRelease(uint32_t *address, uint32_t value) { return emulation::atomicAdd32(address, value); }
inline uint32_t loadAcquire(const uint32_t *address) { return *address; }

} // namespace moec::ptx
