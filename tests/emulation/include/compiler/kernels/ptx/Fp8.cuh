// Shadows compiler/kernels/ptx/Fp8.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline uint32_t packE4M3(float a, float b, float c, float d) { return emulation::packE4M3(a, b, c, d); }

} // namespace moec::ptx
