// Shadows compiler/kernels/ptx/Elect.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Cuda.h"

namespace moec::ptx {

inline bool elect() { return threadIdx.x % 32 == 0; }

} // namespace moec::ptx
