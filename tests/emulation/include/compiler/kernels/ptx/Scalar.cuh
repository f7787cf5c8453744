// Shadows compiler/kernels/ptx/Scalar.cuh. Exact where a GPU is good to a unit or two in the last place.
#pragma once

#include "compiler/kernels/KernelAbi.h"

#include <math.h>

namespace moec::ptx {

inline float maxNan(float a, float b) {
  return isnan(a) || isnan(b) ? NAN : a == b ? (signbit(a) ? b : a) : (a > b ? a : b);
}
inline float minNan(float a, float b) {
  return isnan(a) || isnan(b) ? NAN : a == b ? (signbit(a) ? a : b) : (a < b ? a : b);
}
inline float divide(float a, float b) { return a / b; }
inline float squareRoot(float a) { return sqrtf(a); }
inline float exp2(float a) { return exp2f(a); }
inline float reciprocal(float a) { return 1.0f / a; }

} // namespace moec::ptx
