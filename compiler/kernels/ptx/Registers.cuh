// setmaxnreg (sm_90a): warpgroups trade registers. A multiple of 8; all warps of a warpgroup execute it together.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

template <uint32_t Registers> __device__ void giveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

template <uint32_t Registers> __device__ void takeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}

/// Makes the compiler forget where a value came from, so that it cannot fetch or compute it again.
inline __device__ void keepInRegister(uint64_t &value) { asm volatile("" : "+l"(value)); }

} // namespace moec::ptx
