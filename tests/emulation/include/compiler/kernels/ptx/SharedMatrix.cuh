// Shadows compiler/kernels/ptx/SharedMatrix.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tests/emulation/machine/Instructions.h"

namespace moec::ptx {

inline uint32_t sharedAddress(const void *shared) { return emulation::sharedAddress(shared); }
inline void storeTransposed4(uint32_t shared, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const uint32_t matrix[4] = {a, b, c, d};
  emulation::storeTransposed(shared, matrix, 4);
}
inline void storeTransposed2(uint32_t shared, uint32_t a, uint32_t b) {
  const uint32_t matrix[2] = {a, b};
  emulation::storeTransposed(shared, matrix, 2);
}
inline void loadShared16(uint32_t (&values)[4], uint32_t shared) { emulation::loadShared16(values, shared); }
inline float loadShared4(uint32_t shared) { return emulation::loadShared4(shared); }
inline void storeShared4(uint32_t shared, uint32_t value) { emulation::storeShared4(shared, value); }
inline void storeShared8(uint32_t shared, uint2 values) { emulation::storeShared8(shared, {values.x, values.y}); }
inline float2 loadShared8(uint32_t shared) {
  float values[2];
  emulation::loadShared8(values, shared);
  return make_float2(values[0], values[1]);
}

} // namespace moec::ptx
