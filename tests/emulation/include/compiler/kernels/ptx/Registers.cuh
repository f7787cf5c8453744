// Shadows compiler/kernels/ptx/Registers.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

template <uint32_t Registers> void giveRegisters() { emulation::setRegisters(Registers, false); }
template <uint32_t Registers> void takeRegisters() { emulation::setRegisters(Registers, true); }

inline void keepInRegister(uint64_t &) {}

} // namespace moec::ptx
