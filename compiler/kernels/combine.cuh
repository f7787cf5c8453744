// Combine: each token's shared output and expert outputs, weighted and summed in the order of its pairs: every run,
// slot layout and tile shape gives the same bits.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Counters.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/RowSum.cuh"

namespace moec {

/// The slots of a token's pairs; of few pairs from those that the warp has found.
template <CombineConfig C>
__device__ void findSlots(const CombineArgs &args, const int32_t *few, uint32_t token, int32_t (&slots)[C.topK]) {
  const int32_t *from = args.few.ids ? few : args.slotOfPair;
#pragma unroll
  for (uint32_t k = 0; k < C.topK; ++k)
    slots[k] = from[static_cast<uint64_t>(token) * C.topK + k];
}

/// See CombineArgs. Pairs without a slot (padding) add nothing, whatever lies in their weight.
///
/// Ids and slots are read before the kernel before this one is done: when that one let this one start, dispatch (or
/// what gave the ids) was done. Nothing of gate-up's is: down may still go by its progress (tile/Progress.cuh); but
/// where blocks found the pairs (tile/BlockPairs.cuh) slots are gate-up's, and down, in narrow tiles, has waited for
/// all of it.
///
/// Launch: any grid of C.threads threads (combineBlocks()); each thread sums eight columns of a token at a time.
template <CombineConfig C>
__global__ void __launch_bounds__(C.threads) combine(const __grid_constant__ CombineArgs args) {
  ptx::startNext();
  const uint32_t pieces = args.hidden / 8;
  const uint64_t total = static_cast<uint64_t>(args.numTokens) * pieces;
  uint64_t item = static_cast<uint64_t>(blockIdx.x) * C.threads + threadIdx.x;
  __shared__ int32_t fewSlots[C.threads / 32][kFewPairs];
  int32_t *fewOfWarp = fewSlots[threadIdx.x / 32], slots[C.topK];
  if (args.few.ids)
    tile::writeFewSlots(args.few, fewOfWarp);
  if (item < total)
    findSlots<C>(args, fewOfWarp, static_cast<uint32_t>(item / pieces), slots);
  ptx::waitForPrevious();
  // The last block has nothing else to do where there is one more than combineBlocks().
  if (args.few.ids && blockIdx.x == gridDim.x - 1 && threadIdx.x < 32)
    tile::sampleFewCounts(args.ring, args.few);
  while (item < total) {
    const uint32_t token = static_cast<uint32_t>(item / pieces), column = static_cast<uint32_t>(item % pieces) * 8;
    const float *weights = args.weights + static_cast<uint64_t>(token) * C.topK;
    uint4 rows[C.topK]; // all loads first, so that they are under way together
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k)
      rows[k] = slots[k] < 0 ? make_uint4(0, 0, 0, 0)
                             : *reinterpret_cast<const uint4 *>(tile::elementAt(
                                   args.expertOutput, static_cast<uint64_t>(slots[k]), args.hidden, column));
    tile::RowSum<C.element> sum;
    if (args.shared) {
      const float gate =
          args.sharedGate ? sigmoid(args.sharedGate[static_cast<uint64_t>(token) * args.gateStride]) : 1.0f;
      sum.add(*reinterpret_cast<const uint4 *>(tile::elementAt(args.shared, token, args.hidden, column)), gate);
    }
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k)
      sum.add(rows[k], slots[k] < 0 ? 0.0f : C.weighted ? weights[k] : 1.0f);
    sum.store(tile::elementAt(args.output, token, args.hidden, column));
    item += static_cast<uint64_t>(gridDim.x) * C.threads;
    if (item < total)
      findSlots<C>(args, fewOfWarp, static_cast<uint32_t>(item / pieces), slots);
  }
}

} // namespace moec
