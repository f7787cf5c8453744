// Shadows compiler/kernels/ptx/Grid.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline void startNext() { emulation::startNext(); }
inline void waitForPrevious() { emulation::waitForPrevious(); }
inline uint32_t drawTicket(uint32_t *counter, uint32_t limit) {
  return emulation::atomicIncrement32(counter, limit - 1);
}

} // namespace moec::ptx
