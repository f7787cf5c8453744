// Shadows compiler/kernels/ptx/CpAsync.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/CachePolicy.cuh"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline void cpAsync16(uint32_t shared, const void *global, bool valid) {
  emulation::cpAsync(shared, global, 16, valid);
}
inline void cpAsync16(uint32_t shared, const void *global, bool valid, CachePolicy) {
  cpAsync16(shared, global, valid);
}
inline void cpAsync8(uint32_t shared, const void *global, bool valid) { emulation::cpAsync(shared, global, 8, valid); }
inline void cpAsync4(uint32_t shared, const void *global, bool valid) { emulation::cpAsync(shared, global, 4, valid); }
inline void cpAsyncCommit() { emulation::cpAsyncCommit(); }
template <uint32_t Pending> void cpAsyncWait() { emulation::cpAsyncWait(Pending); }
inline void cpAsyncArrive(uint32_t barrier) { emulation::cpAsyncArrive(barrier); }

} // namespace moec::ptx
