// Shadows compiler/kernels/ptx/Grid.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline void startNext() { emulation::startNext(); }
inline void waitForPrevious() { emulation::waitForPrevious(); }
/// Blocks run one after the other here, so the two steps are one.
inline uint32_t drawTicket(uint32_t *counter, uint32_t limit) {
  const uint32_t ticket = emulation::atomicAdd32(counter, 1);
  if (ticket >= limit - 1)
    emulation::atomicExchange32(counter, 0);
  return ticket;
}

} // namespace moec::ptx
