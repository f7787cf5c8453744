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
  template <uint32_t Sums> static void run(float (&sum)[Sums], uint64_t a, uint64_t b, bool accumulate) {
    static_assert(Sums >= N / 2 && N % 8 == 0 && N <= 256);
    emulation::wgmma(sum, N, a, b, accumulate,
                     E == Element::BF16 ? emulation::MatrixType::BF16 : emulation::MatrixType::F16);
  }
};

template <uint32_t N> struct WgmmaE4M3 {
  template <uint32_t Sums> static void run(float (&sum)[Sums], uint64_t a, uint64_t b, bool accumulate) {
    static_assert(Sums >= N / 2 && N % 8 == 0 && N <= 256);
    emulation::wgmma(sum, N, a, b, accumulate, emulation::MatrixType::E4M3);
  }
};

} // namespace moec::ptx
