// Shared memory: its addresses, registers to it and back by stmatrix (sm_90) and by plain accesses of 4 to 16 bytes.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// The 32-bit address of shared memory that PTX wants.
inline __device__ uint32_t sharedAddress(const void *shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/// Stores four 8x8 matrices of two-byte elements, each transposed; lanes 8i .. 8i+7 give the addresses of the eight
/// 16-byte rows that matrix i's columns become. Lane 4r+c holds row r, columns 2c and 2c+1 of each matrix.
inline __device__ void storeTransposed4(uint32_t shared, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}

/// As storeTransposed4, of two matrices; the addresses of lanes 0 .. 15 count.
inline __device__ void storeTransposed2(uint32_t shared, uint32_t a, uint32_t b) {
  asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(shared), "r"(a), "r"(b)
               : "memory");
}

inline __device__ void loadShared16(uint32_t (&values)[4], uint32_t shared) {
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(values[0]), "=r"(values[1]), "=r"(values[2]), "=r"(values[3])
               : "r"(shared)
               : "memory");
}

inline __device__ float loadShared4(uint32_t shared) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(shared) : "memory");
  return value;
}

inline __device__ void storeShared4(uint32_t shared, uint32_t value) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(shared), "r"(value) : "memory");
}

inline __device__ void storeShared8(uint32_t shared, uint2 values) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(shared), "r"(values.x), "r"(values.y) : "memory");
}

inline __device__ float2 loadShared8(uint32_t shared) {
  float2 values;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(values.x), "=f"(values.y) : "r"(shared) : "memory");
  return values;
}

} // namespace moec::ptx
