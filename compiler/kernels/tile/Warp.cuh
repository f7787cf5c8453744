// Sums, maxima and scans over the lanes of a warp; all lanes take part.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::tile {

inline constexpr uint32_t allLanes = 0xffffffffu;
inline __device__ uint32_t lanesBelow() { return (1u << threadIdx.x % 32) - 1; }

/// A value that all lanes have alike. The compiler cannot know that of what comes from shared memory or threadIdx, and
/// keeps what depends on it, matrix descriptors above all, out of uniform registers: each wgmma then waited for a chain
/// of arithmetic and four moves (docs/performance-log.md).
inline __device__ uint32_t uniform(uint32_t value) { return __shfl_sync(allLanes, value, 0); }

/// The thread's warpgroup, to branch on. Below a branch that lanes of a warp might take apart the compiler uses no
/// uniform registers at all, whatever it knows of a value. By all lanes.
inline __device__ uint32_t warpgroup() { return uniform(threadIdx.x / 128); }

inline __device__ float warpSum(float value) {
  for (uint32_t step = 16; step > 0; step /= 2)
    value += __shfl_xor_sync(allLanes, value, step);
  return value;
}

inline __device__ uint32_t warpTotal(uint32_t value) {
  for (uint32_t step = 16; step > 0; step /= 2)
    value += __shfl_xor_sync(allLanes, value, step);
  return value;
}

inline __device__ float warpMax(float value) {
  for (uint32_t step = 16; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(allLanes, value, step));
  return value;
}

/// Sum of the lanes below this one.
inline __device__ int32_t warpPrefix(int32_t value) {
  int32_t sum = value;
  for (uint32_t step = 1; step < 32; step *= 2) {
    const int32_t other = __shfl_up_sync(allLanes, sum, step);
    if (threadIdx.x % 32 >= step)
      sum += other;
  }
  return sum - value;
}

/// NVRTC has no INFINITY.
inline __device__ float negativeInfinity() { return __uint_as_float(0xff800000u); }

/// Maps a float to an integer that orders the same way; every finite float maps above 0, and -0 to the same as +0.
inline __device__ uint32_t orderedKey(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

} // namespace moec::tile
