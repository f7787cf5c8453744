// Scalar instructions that CUDA has no function for: what activations are made of (compiler/codegen/cuda/Functor.cpp).
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

/// The larger one; NaN if either is (fmaxf would drop it). +0 is larger than -0.
inline __device__ float maxNan(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

/// The smaller one; NaN if either is. -0 is smaller than +0.
inline __device__ float minNan(float a, float b) {
  float result;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

/// a / b within two units in the last place for all b, infinite ones too. The operator's exact form calls a routine,
/// whose registers a matrix product's epilogue does not have; __fdividef gives 0 for b beyond 2^126.
inline __device__ float divide(float a, float b) {
  float result;
  asm("div.full.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

/// The square root, to a unit in the last place or two. The exact one calls a routine.
inline __device__ float squareRoot(float a) {
  float result;
  asm("sqrt.approx.f32 %0, %1;" : "=f"(result) : "f"(a));
  return result;
}

/// 2^a, to two units in the last place; denormals count as zero.
inline __device__ float exp2(float a) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a));
  return result;
}

/// 1 / a, to a unit in the last place; denormals count as zero.
inline __device__ float reciprocal(float a) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a));
  return result;
}

} // namespace moec::ptx
