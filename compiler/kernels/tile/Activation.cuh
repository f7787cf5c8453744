// The activation that a GEMM gets where no model brings its own: code generation writes functors of the same form.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Scalar.cuh"

namespace moec {

/// 1 / (1 + e^-x); 0 and 1 where e^-x overflows or vanishes.
inline __device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/// gate * sigmoid(gate) * up. By the special function unit's instructions as they are: __expf and __fdividef take four
/// more to get denormals right, which end in a zero here, and the epilogue of gate-up is made of this.
struct SiluGate {
  static __device__ float apply(float gate, float up) {
    return gate * ptx::reciprocal(1.0f + ptx::exp2(gate * -1.44269504f)) * up;
  }
};

/// For products without an activation; never called.
struct NoActivation {
  static __device__ float apply(float gate, float) { return gate; }
};

} // namespace moec
