// Shadows compiler/kernels/ptx/Grid.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline void startNext() { emulation::startNext(); }
inline void waitForPrevious() { emulation::waitForPrevious(); }

} // namespace moec::ptx
