// Shadows compiler/kernels/ptx/Wgmma.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Descriptor.cuh"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline void wgmmaFence() { emulation::wgmmaFence(); }
inline void wgmmaCommit() { emulation::wgmmaCommit(); }
template <uint32_t Pending> void wgmmaWait() { emulation::wgmmaWait(Pending); }

template <Element E, uint32_t N> struct Wgmma {
  static void run(float (&sum)[N / 2], uint64_t a, uint64_t b, uint32_t accumulate) {
    emulation::wgmma(sum, N, a, b, accumulate != 0, E == Element::BF16);
  }
};

} // namespace moec::ptx
