// Combine: each token's expert outputs, weighted and summed in the order of its pairs, so every run gives the same bits.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Fragment.cuh"

namespace moec {

/// output[t] = sum_k weights[t, k] * expertOutput[slotOfPair[t, k]], in f32, rounded once; pairs without a slot add
/// nothing.
///
/// Launch: any grid of C.threads threads; each thread sums eight columns of a token at a time.
template <CombineConfig C>
__global__ void __launch_bounds__(C.threads) combine(const __grid_constant__ CombineArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  using Convert = ptx::Convert<C.element>;
  const uint32_t pieces = args.hidden / 8;
  const uint64_t total = static_cast<uint64_t>(args.numTokens) * pieces;
  for (uint64_t item = static_cast<uint64_t>(blockIdx.x) * C.threads + threadIdx.x; item < total;
       item += static_cast<uint64_t>(gridDim.x) * C.threads) {
    const uint32_t token = static_cast<uint32_t>(item / pieces), column = static_cast<uint32_t>(item % pieces) * 8;
    const int32_t *slots = args.slotOfPair + static_cast<uint64_t>(token) * C.topK;
    const float *weights = args.weights + static_cast<uint64_t>(token) * C.topK;
    uint4 rows[C.topK]; // all loads first, so that they are under way together
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k)
      rows[k] = slots[k] < 0 ? make_uint4(0, 0, 0, 0)
                             : *reinterpret_cast<const uint4 *>(tile::elementAt(
                                   args.expertOutput, static_cast<uint64_t>(slots[k]), args.hidden, column));
    float sums[8] = {};
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k) {
      const float weight = slots[k] < 0 ? 0.0f : weights[k];
      const uint32_t packed[4] = {rows[k].x, rows[k].y, rows[k].z, rows[k].w};
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        sums[i * 2] += weight * Convert::low(packed[i]);
        sums[i * 2 + 1] += weight * Convert::high(packed[i]);
      }
    }
    uint32_t packed[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i)
      packed[i] = Convert::pack(sums[i * 2], sums[i * 2 + 1]);
    tile::store16(tile::elementAt(args.output, token, args.hidden, column), packed);
  }
}

} // namespace moec
