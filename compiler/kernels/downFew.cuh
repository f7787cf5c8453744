// Down for steps of one or two tokens, one block for some columns of one token's output with all its experts: the block
// weighs and adds up what they give by itself, so that no combine runs.
#pragma once

#include "compiler/kernels/DownFewAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Elect.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Mma.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/TokenColumns.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// Loads go round by chunks of k, and in each by the token's pairs that have an expert.
template <DownFewConfig C> struct DownFewBlock : tile::TokenColumns<C> {
  using Base = tile::TokenColumns<C>;
  using Base::args, Base::token, Base::firstColumn;
  static constexpr uint32_t chunkBlocks = kDownFewChunk / 64; // rows of 128 bytes
  static constexpr uint32_t spanBytes = kDownFewColumns * tile::rowBytes;
  static constexpr uint32_t rounds = (C.topK + kDownFewWarps - 1) / kDownFewWarps; // pairs of a warp
  static constexpr uint32_t depth = rounds == 1 ? 4 : 2; // chunks of each whose rows are under way
  static_assert(C.topK <= kDownFewMostTopK && C.groups == 1, "a lane has a pair");
  static_assert(kDownFewChunk == 32 * 8, "each lane brings 16 bytes of a row");

  uint32_t tiles, full, empty; // shared memory: slots, barriers
  uint32_t chunks;

  __device__ uint32_t at(uint32_t slot) const { return tiles + slot * kDownFewSlotBytes; }

  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < chunks * C.topK; ++i)
      ptx::barrierInit(full + i * 8, 1);
    for (uint32_t i = 0; i < args.slots; ++i)
      ptx::barrierInit(empty + i * 8, 1);
    ptx::fenceBarrierInit();
  }

  /// By the loading warp. `expert`: expertOfLane(); `rows` [topK], shared: where the weights of pairs begin that have
  /// an expert.
  __device__ void load(const TensorMap *weights, uint32_t expert, uint32_t *rows) const {
    const bool isReal = expert < args.few.numExperts;
    const uint32_t present = __ballot_sync(tile::allLanes, isReal), pairs = __popc(present);
    if (isReal)
      rows[__popc(present & tile::lanesBelow())] = expert * args.n + firstColumn;
    __syncwarp();
    if (ptx::elect()) {
      const uint32_t loads = chunks * pairs;
      for (uint32_t load = 0, slot = 0, parity = 1, pair = 0, chunk = 0; load < loads; ++load) {
        ptx::barrierWait(empty + slot * 8, parity);
        ptx::barrierArriveExpect(full + load * 8, kDownFewSlotBytes);
        ptx::tmaLoad3d(at(slot), weights, 0, rows[pair], chunk * chunkBlocks, full + load * 8);
        if (++slot == args.slots) {
          slot = 0;
          parity ^= 1;
        }
        if (++pair == pairs) {
          pair = 0;
          ++chunk;
        }
      }
    }
    __syncwarp();
    Base::endLoads();
  }

  /// This lane's 16 bytes of a chunk of a pair's row.
  __device__ uint4 rowPiece(int32_t slot, uint32_t chunk) const {
    const uint32_t k = chunk * kDownFewChunk + threadIdx.x % 32 * 8;
    return slot >= 0 && k < args.k ? *reinterpret_cast<const uint4 *>(
                                         tile::elementAt(args.activated, static_cast<uint64_t>(slot), args.k, k))
                                   : make_uint4(0, 0, 0, 0);
  }

  /// What a warp multiplies of 64 elements of the sum.
  struct Fragments {
    uint32_t a[4][4], b[2][4];

    __device__ void load(uint32_t weights, const uint32_t (&pieces)[4], uint32_t row) {
#pragma unroll
      for (uint32_t step = 0; step < 4; ++step)
        ptx::ldmatrix4(a[step], weights + pieces[step]);
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half)
        ptx::ldmatrix4(b[half], row + half * 64);
    }
    __device__ void multiply(float (&sum)[4]) const {
#pragma unroll
      for (uint32_t step = 0; step < 4; ++step)
        ptx::Mma<C.element>::run(sum, a[step], b[step / 2][step % 2 * 2], b[step / 2][step % 2 * 2 + 1]);
    }
  };

  /// `weights`: the slot; `row`: the chunk of the row, for this lane to take by ldmatrix. All columns of the products
  /// are alike.
  template <uint32_t Blocks>
  static __device__ void multiplyBlocks(float (&sum)[4], uint32_t weights, const uint32_t (&pieces)[4], uint32_t row) {
    Fragments fragments[2];
    fragments[0].load(weights, pieces, row);
#pragma unroll
    for (uint32_t block = 0; block < Blocks; ++block) {
      if (block + 1 < Blocks)
        fragments[(block + 1) % 2].load(weights + (block + 1) * spanBytes, pieces, row + (block + 1) * 128);
      fragments[block % 2].multiply(sum);
    }
  }

  /// `blocks`: 64s of the sum from this chunk on; a whole one has chunkBlocks.
  static __device__ void multiplyChunk(float (&sum)[4], uint32_t weights, const uint32_t (&pieces)[4], uint32_t row,
                                       uint32_t blocks) {
    if (blocks >= chunkBlocks)
      return multiplyBlocks<chunkBlocks>(sum, weights, pieces, row);
#pragma unroll 1
    for (uint32_t block = 0; block < blocks; ++block)
      multiplyBlocks<1>(sum, weights + block * spanBytes, pieces, row + block * 128);
  }

  /// A pair of the token, to the warp that multiplies for it.
  struct Pair {
    int32_t row;         ///< of its expert's input; negative: none, or padding
    uint32_t load, slot; ///< of its next chunk
    float biases[2];     ///< biased: of this lane's columns, lane / 4 and eight on
  };

  /// `expert` and `row`: of the lane's pair among those of the step; `present`: of the token, those that have an
  /// expert. By all lanes of a warp.
  __device__ Pair pairOf(uint32_t pair, uint32_t expert, int32_t row, uint32_t present) const {
    const uint32_t ofStep = (token * C.topK + pair) % 32;
    Pair found;
    found.row = __shfl_sync(tile::allLanes, row, ofStep);
    if (pair >= C.topK)
      found.row = -1;
    found.load = __popc(present & ((1u << pair) - 1));
    found.slot = found.load % args.slots;
    if constexpr (C.biased) {
      expert = __shfl_sync(tile::allLanes, expert, ofStep);
      if (found.row >= 0) {
        const float *from = args.bias + static_cast<uint64_t>(expert) * args.n + firstColumn + threadIdx.x % 32 / 4;
        found.biases[0] = from[0];
        found.biases[1] = from[8];
      }
    }
    return found;
  }

  /// By the multiplying warps. `staged`: the warp's, a chunk of a row; `rounded`: what experts give, rounded.
  __device__ void multiply(uint8_t *staged, float (&rounded)[C.topK][kDownFewColumns]) const {
    const uint32_t lane = threadIdx.x % 32, warp = tile::uniform(threadIdx.x / 32);
    const tile::FewPlace place = tile::fewPlace(args.few);
    const int32_t rowOfLane = tile::fewSlot(args.few, place);
    const uint32_t present = Base::ofToken(__ballot_sync(tile::allLanes, rowOfLane >= 0)), numPairs = __popc(present);
    Pair pairs[rounds];
#pragma unroll
    for (uint32_t r = 0; r < rounds; ++r)
      pairs[r] = pairOf(warp + r * kDownFewWarps, place.expert, rowOfLane, present);
    uint32_t pieces[4];
#pragma unroll
    for (uint32_t step = 0; step < 4; ++step)
      pieces[step] = tile::swizzled(lane % 16, step * 2 + lane / 16);
    const uint32_t row = ptx::sharedAddress(staged) + lane / 8 * 16;

    ptx::waitForPrevious();
    const float weight = warp == 0 ? Base::weightOfLane(present) : 0;
    uint4 ahead[rounds][depth];
#pragma unroll
    for (uint32_t d = 0; d < depth; ++d)
#pragma unroll
      for (uint32_t r = 0; r < rounds; ++r)
        ahead[r][d] = rowPiece(pairs[r].row, d);
    float sums[rounds][4] = {};
#pragma unroll 1
    for (uint32_t first = 0; first < chunks; first += depth)
#pragma unroll
      for (uint32_t d = 0; d < depth; ++d)
#pragma unroll
        for (uint32_t r = 0; r < rounds; ++r) {
          const uint32_t chunk = first + d;
          if (chunk >= chunks || pairs[r].row < 0)
            continue;
          reinterpret_cast<uint4 *>(staged)[lane] = ahead[r][d];
          ahead[r][d] = rowPiece(pairs[r].row, chunk + depth);
          __syncwarp();
          ptx::barrierWait(full + pairs[r].load * 8, 0);
          multiplyChunk(sums[r], at(pairs[r].slot), pieces, row, args.k / 64 - chunk * chunkBlocks);
          __syncwarp(); // all have read the slot, and the row
          if (lane == 0)
            ptx::barrierArrive(empty + pairs[r].slot * 8);
          pairs[r].load += numPairs;
          for (pairs[r].slot += numPairs; pairs[r].slot >= args.slots;)
            pairs[r].slot -= args.slots;
        }
#pragma unroll
    for (uint32_t r = 0; r < rounds; ++r)
      if (pairs[r].row >= 0)
        leave(sums[r], pairs[r], rounded[warp + r * kDownFewWarps]);
    ptx::namedBarrier<1, kDownFewWarps * 32>();
    if (warp == 0)
      Base::combine(present, weight, rounded);
  }

  /// What down would write of a pair: of four lanes, which have the same two columns, the first does.
  static __device__ void leave(const float (&sum)[4], const Pair &pair, float (&to)[kDownFewColumns]) {
    const uint32_t lane = threadIdx.x % 32;
    float low = sum[0], high = sum[2];
    if constexpr (C.biased) {
      low += pair.biases[0];
      high += pair.biases[1];
    }
    if (lane % 4 == 0) {
      to[lane / 4] = Base::roundedOf(low);
      to[lane / 4 + 8] = Base::roundedOf(high);
    }
  }
};

/// output[t] = sum over its pairs of weight * (down x, and a bias, rounded to the element): the bits that down and
/// combine give. `weights` maps down's [E * n rows, k] as (64 elements of k, all rows, k / 64) in boxes of 64 by
/// kDownFewColumns by kDownFewChunk / 64, swizzled by 128 bytes (downFewTensor()).
///
/// Ids are read before the kernel before this one is done, as combine does; so are weights and biases.
///
/// Launch: downFewBlocks() blocks of kDownFewThreads threads, downFewSharedBytes(args.slots); downIsFew().
template <DownFewConfig C>
__global__ void __launch_bounds__(kDownFewThreads, 2)
    downFew(const __grid_constant__ TensorMap weights, const __grid_constant__ DownFewArgs args) {
  extern __shared__ uint8_t unaligned[];
  __shared__ __align__(8) uint64_t barriers[kDownFewMostLoads + kDownFewMostSlots];
  __shared__ __align__(16) uint8_t staged[kDownFewWarps][kDownFewChunk * 2];
  __shared__ __align__(16) float rounded[C.topK][kDownFewColumns];
  __shared__ uint32_t rows[C.topK];
  // A block may have 227 KB, a multiprocessor has 228; each block takes 1 KB besides.
  constexpr uint32_t otherBytes = sizeof(barriers) + sizeof(staged) + sizeof(rounded) + sizeof(rows) + 1024;
  static_assert(kDownFewMostSharedBytes + otherBytes <= 227 * 1024);
  static_assert(2 * (downFewSharedBytes(kDownFewSlots) + otherBytes) <= 228 * 1024, "two blocks a multiprocessor");
  const uint32_t full = ptx::sharedAddress(barriers), numTokens = args.few.numTokens;
  // Blocks of tokens that may share an expert follow each other.
  const DownFewBlock<C> block{{args, blockIdx.x % numTokens, blockIdx.x / numTokens * kDownFewColumns},
                              (ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024,
                              full,
                              full + kDownFewMostLoads * 8,
                              (args.k + kDownFewChunk - 1) / kDownFewChunk};
  const uint32_t warp = tile::uniform(threadIdx.x / 32);
  uint32_t expert = 0;
  if (warp == kDownFewWarps) {
    expert = block.expertOfLane(); // under way meanwhile
    if (ptx::elect()) {
      ptx::prefetchTensorMap(&weights);
      block.init();
    }
  }
  __syncthreads();
  if (warp == kDownFewWarps)
    block.load(&weights, expert, rows);
  else
    block.multiply(staged[warp], rounded);
}

} // namespace moec
