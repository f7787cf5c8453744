// What a .cuh expects of the CUDA language, for the host's compiler. Include this before a kernel.
#pragma once

#include "tests/emulation/machine/Block.h"
#include "tests/emulation/machine/DynamicShared.h"
#include "tests/emulation/machine/Instructions.h"

#include <bit>
#include <math.h>
#include <stdint.h>

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __grid_constant__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
// Attributes may stand anywhere, alignas may not: write `__shared__ __align__(8) T name`.
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ thread_local

#define threadIdx (::moec::emulation::Block::current().self().threadIdx)
#define blockIdx (::moec::emulation::Block::current().blockIdx)
#define gridDim (::moec::emulation::Block::current().gridDim)

// Vector types, so that a copy of one is one access.
using uint2 = uint32_t __attribute__((ext_vector_type(2)));
using uint4 = uint32_t __attribute__((ext_vector_type(4)));
using int4 = int32_t __attribute__((ext_vector_type(4)));
using float2 = float __attribute__((ext_vector_type(2)));
using float4 = float __attribute__((ext_vector_type(4)));
inline uint2 make_uint2(uint32_t x, uint32_t y) { return uint2{x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return uint4{x, y, z, w}; }
inline float2 make_float2(float x, float y) { return float2{x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }

inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline int32_t __float_as_int(float value) { return std::bit_cast<int32_t>(value); }
inline float __int_as_float(int32_t bits) { return std::bit_cast<float>(bits); }
inline float __expf(float value) { return expf(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __frcp_rn(float value) { return 1.0f / value; }
inline int __popc(uint32_t bits) { return std::popcount(bits); }
inline int __ffs(uint32_t bits) { return bits ? std::countr_zero(bits) + 1 : 0; }
inline int __clz(uint32_t bits) { return std::countl_zero(bits); }
template <class T> T __ldg(const T *address) { return *address; }
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }

template <class T> T emulatedShuffle(moec::emulation::Shuffle kind, uint32_t mask, T value, uint32_t lane) {
  static_assert(sizeof(T) == 4);
  return std::bit_cast<T>(moec::emulation::shuffle(kind, mask, std::bit_cast<uint32_t>(value), lane));
}
template <class T> T __shfl_sync(uint32_t mask, T value, uint32_t lane) {
  return emulatedShuffle(moec::emulation::Shuffle::Index, mask, value, lane);
}
template <class T> T __shfl_up_sync(uint32_t mask, T value, uint32_t by) {
  return emulatedShuffle(moec::emulation::Shuffle::Up, mask, value, by);
}
template <class T> T __shfl_down_sync(uint32_t mask, T value, uint32_t by) {
  return emulatedShuffle(moec::emulation::Shuffle::Down, mask, value, by);
}
template <class T> T __shfl_xor_sync(uint32_t mask, T value, uint32_t by) {
  return emulatedShuffle(moec::emulation::Shuffle::Xor, mask, value, by);
}
inline uint32_t __ballot_sync(uint32_t mask, bool predicate) { return moec::emulation::ballot(mask, predicate); }
inline bool __any_sync(uint32_t mask, bool predicate) { return moec::emulation::ballot(mask, predicate) != 0; }
inline bool __all_sync(uint32_t mask, bool predicate) { return moec::emulation::ballot(mask, predicate) == mask; }
inline uint32_t __match_any_sync(uint32_t mask, uint32_t value) { return moec::emulation::matchAny(mask, value); }
inline void __syncwarp(uint32_t mask = 0xffffffffu) { moec::emulation::syncWarp(mask); }
inline void __syncthreads() { moec::emulation::syncThreads(); }

#define MOEC_REDUCE(NAME, KIND)                                                                                        \
  inline uint32_t __reduce_##NAME##_sync(uint32_t mask, uint32_t value) {                                              \
    return moec::emulation::reduce(moec::emulation::Reduce::KIND, false, mask, value);                                 \
  }                                                                                                                    \
  inline int32_t __reduce_##NAME##_sync(uint32_t mask, int32_t value) {                                                \
    return static_cast<int32_t>(                                                                                       \
        moec::emulation::reduce(moec::emulation::Reduce::KIND, true, mask, static_cast<uint32_t>(value)));             \
  }
MOEC_REDUCE(max, Max)
MOEC_REDUCE(min, Min)
MOEC_REDUCE(add, Add)
#undef MOEC_REDUCE

inline uint32_t atomicAdd(uint32_t *address, uint32_t value) { return moec::emulation::atomicAdd32(address, value); }
inline int32_t atomicAdd(int32_t *address, int32_t value) {
  return static_cast<int32_t>(
      moec::emulation::atomicAdd32(reinterpret_cast<uint32_t *>(address), static_cast<uint32_t>(value)));
}
inline uint32_t atomicInc(uint32_t *address, uint32_t last) {
  return moec::emulation::atomicIncrement32(address, last);
}
inline float atomicAdd(float *address, float value) { return moec::emulation::atomicAddFloat(address, value); }
inline uint32_t atomicMax(uint32_t *address, uint32_t value) { return moec::emulation::atomicMax32(address, value); }
inline uint32_t atomicExch(uint32_t *address, uint32_t value) {
  return moec::emulation::atomicExchange32(address, value);
}
inline uint32_t atomicCAS(uint32_t *address, uint32_t expected, uint32_t value) {
  return moec::emulation::atomicCompareExchange32(address, expected, value);
}
