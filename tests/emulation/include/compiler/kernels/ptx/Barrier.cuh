// Shadows compiler/kernels/ptx/Barrier.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline void barrierInit(uint32_t barrier, uint32_t arrivals) { emulation::barrierInit(barrier, arrivals); }
inline void fenceBarrierInit() { emulation::fenceBarrierInit(); }
inline void barrierArrive(uint32_t barrier, uint32_t arrivals = 1) { emulation::barrierArrive(barrier, arrivals, 0); }
inline void barrierArriveExpect(uint32_t barrier, uint32_t bytes) { emulation::barrierArrive(barrier, 1, bytes); }
inline void barrierWait(uint32_t barrier, uint32_t parity) { emulation::barrierWait(barrier, parity); }
template <uint32_t Number, uint32_t Threads> void namedBarrier() { emulation::namedBarrierSync(Number, Threads); }
template <uint32_t Number, uint32_t Threads> void namedBarrierArrive() {
  emulation::namedBarrierArrive(Number, Threads);
}
inline void fenceProxyAsync() { emulation::fenceProxyAsync(); }
inline void fenceProxyAsyncGlobal() { emulation::fenceProxyAsyncGlobal(); }

} // namespace moec::ptx
