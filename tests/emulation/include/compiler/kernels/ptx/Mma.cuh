// Shadows compiler/kernels/ptx/Mma.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline void ldmatrix4(uint32_t (&matrix)[4], uint32_t shared) { emulation::ldmatrix4(matrix, shared); }
inline uint32_t transpose8x8(uint32_t matrix) { return emulation::transpose8x8(matrix); }

template <Element E> struct Mma {
  static void run(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    emulation::mma16816(sum, a, b0, b1, E == Element::BF16);
  }
};

} // namespace moec::ptx
