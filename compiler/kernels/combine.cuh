// Combine: each token's shared output and expert outputs, weighted and summed in the order of its pairs: every run,
// slot layout and tile shape gives the same bits.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Fragment.cuh"

namespace moec {

/// Eight columns' sums, and what is added to them.
template <Element E> struct RowSum {
  float sums[8] = {};

  __device__ void add(const uint4 &row, float weight) {
    const uint32_t packed[4] = {row.x, row.y, row.z, row.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      sums[i * 2] += weight * ptx::Convert<E>::low(packed[i]);
      sums[i * 2 + 1] += weight * ptx::Convert<E>::high(packed[i]);
    }
  }

  __device__ void store(void *to) const {
    uint32_t packed[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i)
      packed[i] = ptx::Convert<E>::pack(sums[i * 2], sums[i * 2 + 1]);
    tile::store16(to, packed);
  }
};

/// See CombineArgs. Pairs without a slot (padding) add nothing, whatever lies in their weight.
///
/// Launch: any grid of C.threads threads (combineBlocks()); each thread sums eight columns of a token at a time.
template <CombineConfig C>
__global__ void __launch_bounds__(C.threads) combine(const __grid_constant__ CombineArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
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
    RowSum<C.element> sum;
    if (args.shared) {
      const float gate =
          args.sharedGate ? sigmoid(args.sharedGate[static_cast<uint64_t>(token) * args.gateStride]) : 1.0f;
      sum.add(*reinterpret_cast<const uint4 *>(tile::elementAt(args.shared, token, args.hidden, column)), gate);
    }
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k)
      sum.add(rows[k], slots[k] < 0 ? 0.0f : C.weighted ? weights[k] : 1.0f);
    sum.store(tile::elementAt(args.output, token, args.hidden, column));
  }
}

} // namespace moec
