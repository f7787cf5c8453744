// As downFew, of e4m3 weights with block scales. A block's columns of four experts are the 64 weight rows of one wgmma,
// and the rows of the token's eight pairs, theirs among them, its columns; of what it gives, each expert's columns by
// the expert's own row count. Of one or two experts a token a block has more columns, so that they fill those 64 rows.
#pragma once

#include "compiler/kernels/DownFewAbi.h"
#include "compiler/kernels/fp8/BlockPart.cuh"
#include "compiler/kernels/fp8/FewProducts.cuh"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Elect.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Load.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/TokenColumns.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// A part is a pair's columns of one group; of eight experts a token there is one group, and parts are pairs. Slots are
/// filled by chunks of k, and in each by the fours of parts of which one has an expert. A warp adds up what is one
/// part's, warp w of eight those of w and w + 8, and brings one pair's row, with others where there are fewer pairs.
template <DownFewConfig C> struct DownFewFp8Block : tile::TokenColumns<C> {
  using Base = tile::TokenColumns<C>;
  using Base::args, Base::token, Base::firstColumn;
  static constexpr uint32_t perChunk = kDownFewChunk / kFp8Block;                            // blocks of the scales
  static constexpr uint32_t rounds = (Base::parts + kDownFewWarps - 1) / kDownFewWarps;      // parts of a warp
  static constexpr uint32_t bringers = C.topK > 4 ? 1 : C.topK > 2 ? 2 : C.topK > 1 ? 4 : 8; // warps that bring a row
  static constexpr uint32_t ahead = 4; // pieces of a row under way
  static_assert(!C.biased && kDownFewWarps == 2 * kDownFewFp8Pairs, "two warpgroups");
  static_assert(C.groups == 1 || Base::parts <= kDownFewFp8Pairs, "several groups are parts of one product");
  static_assert(C.topK <= kDownFewMostTopK && Base::parts <= kDownFewMostTopK, "a lane has a pair, and a part");
  static_assert(kFp8Block % (C.groups * kDownFewColumns) == 0, "a block's columns of an expert share scales");
  static_assert(kDownFewFp8MostRowBytes / kFewTileBytes <= 32, "a lane has the scale of a block of weights");

  const DownFewFp8Args &scaled;
  uint32_t rows, tiles, full, empty, rowsHere; // shared memory: the quantised rows, slots, barriers
  float *scales;                               // [rounds * 8 pairs, blocks], shared: of rows times weights
  uint32_t chunks;

  __device__ uint32_t at(uint32_t slot) const { return tiles + slot * kDownFewFp8SlotBytes; }
  __device__ uint32_t blocks() const { return chunks * perChunk; } // with what fills the last chunk

  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < downFewFp8Fills(C.topK, args.k); ++i)
      ptx::barrierInit(full + i * 8, 1);
    for (uint32_t i = 0; i < args.slots; ++i)
      ptx::barrierInit(empty + i * 8, kDownFewFp8Pairs);
    ptx::barrierInit(rowsHere, kDownFewWarps);
    ptx::fenceBarrierInit();
  }

  /// By the loading warp. `expert`: expertOfLane(); `from` [parts], shared: the groups of eight rows where the weights
  /// of parts begin that have an expert.
  __device__ void load(const TensorMap *weights, uint32_t expert, uint32_t *from) const {
    const bool isReal = expert < args.few.numExperts;
    const uint32_t present = __ballot_sync(tile::allLanes, isReal);
    if (isReal)
      from[threadIdx.x % 32] = (expert * args.n + firstColumn + threadIdx.x % C.groups * kDownFewColumns) / 8;
    __syncwarp();
    if (ptx::elect()) {
      // What all slots take would be under way before the rows, which then wait for it: two thirds are enough to keep
      // memory busy, and the rest is asked for when the rows are here (up to 5 % of a step of one to four tokens).
      uint32_t barrier = full, slot = 0, parity = 1, early = (args.slots * 2 + 1) / 3;
      for (uint32_t chunk = 0; chunk < chunks; ++chunk)
        for (uint32_t first = 0; first < Base::parts; first += kDownFewFp8Pairs) {
          const uint32_t four = present >> first & ((1u << kDownFewFp8Pairs) - 1);
          if (four == 0)
            continue;
          if (early-- == 0)
            ptx::barrierWait(rowsHere, 0);
          ptx::barrierWait(empty + slot * 8, parity);
          ptx::barrierArriveExpect(barrier, __popc(four) * kDownFewFp8LoadBytes);
          for (uint32_t i = 0; i < kDownFewFp8Pairs; ++i)
            if (four >> i & 1)
              ptx::tmaLoadRowGroups(at(slot) + i * kDownFewFp8LoadBytes, weights, chunk * perChunk, from[first + i],
                                    barrier);
          barrier += 8;
          if (++slot == args.slots) {
            slot = 0;
            parity ^= 1;
          }
        }
    }
    __syncwarp();
    Base::endLoads();
  }

  /// A pair of the token, to the warps that bring its row.
  struct Pair {
    int32_t row;     ///< of its expert's input; negative: none, or padding
    float ofWeights; ///< the scale of the weights' block of this lane's number
  };

  /// `expert` and `row`: of the lane's pair among those of the step. By all lanes of a warp.
  __device__ Pair pairOf(uint32_t pair, uint32_t expert, int32_t row) const {
    const uint32_t ofStep = (token * C.topK + pair) % 32, lane = threadIdx.x % 32, kBlocks = args.k / kFp8Block;
    Pair found{__shfl_sync(tile::allLanes, row, ofStep), 0};
    if (pair >= C.topK)
      found.row = -1;
    expert = __shfl_sync(tile::allLanes, expert, ofStep);
    if (found.row >= 0 && lane < kBlocks)
      found.ofWeights =
          scaled.weightScales[(uint64_t{expert} * ceilDivide(args.n, kFp8Block) + firstColumn / kFp8Block) * kBlocks +
                              lane];
    return found;
  }

  /// The pair whose row the warp brings, and of whose part it adds up.
  static __device__ uint32_t pairBrought(uint32_t round) { return threadIdx.x / 32 / bringers + round * kDownFewWarps; }
  static __device__ uint32_t pairAdded(uint32_t round) { return (threadIdx.x / 32 + round * kDownFewWarps) / C.groups; }

  /// Where the rows of eight pairs are in shared memory.
  __device__ uint32_t rowTile(uint32_t round, uint32_t block) const {
    return rows + (round * blocks() + block) * kFewTileBytes;
  }
  __device__ float *scalesOf(uint32_t pair) const { return scales + pair * blocks(); }

  /// The first pieces of the warp's first row are here, as far as one lane knows: a hint to the loading warp.
  __device__ void sayRowsHere() const {
    if (threadIdx.x % 32 == 0)
      ptx::barrierArrive(rowsHere);
  }

  /// The first chunk of a row that a warp brings; the others are `bringers` apart.
  static __device__ uint32_t firstBrought() { return threadIdx.x / 32 % bringers; }

  /// By all lanes of a warp, which has a chunk to bring; zeros beyond the row's end.
  __device__ void bring(const Pair &pair, uint32_t round) const {
    const uint32_t lane = threadIdx.x % 32, half = lane / 16, row = pairBrought(round) % 8;
    float *to = scalesOf(pairBrought(round));
    for (uint32_t first = firstBrought(); first < chunks; first += ahead * bringers) {
      uint4 pieces[ahead];
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i) {
        const uint32_t column = (first + i * bringers) * kDownFewChunk + lane * 8;
        const bool exists = column < args.k;
        pieces[i] = ptx::load16(
            tile::elementAt(args.activated, static_cast<uint64_t>(pair.row), args.k, exists ? column : 0), exists);
      }
      float most[ahead], factors[ahead], ofBlocks[ahead];
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i)
        most[i] = BlockPart<C.element>(pieces[i]).ownMost();
      sixteenLanesMost(most);
      if (round == 0 && first == firstBrought())
        sayRowsHere();
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i) {
        const uint32_t block = (first + i * bringers) * perChunk + half;
        factors[i] = kFp8Most / most[i];
        ofBlocks[i] = most[i] / kFp8Most * __shfl_sync(tile::allLanes, pair.ofWeights, block % 32);
      }
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i) {
        if (first + i * bringers >= chunks)
          break;
        const uint32_t block = (first + i * bringers) * perChunk + half;
        ptx::storeShared8(rowTile(round, block) + tile::swizzled(row, lane % 16 / 2) + lane % 2 * 8,
                          BlockPart<C.element>(pieces[i]).times(factors[i]));
        if (lane % 16 == 0)
          to[block] = ofBlocks[i];
      }
    }
  }

  /// As bring(), of rows that are quantised.
  __device__ void bringQuantised(const Pair &pair, uint32_t round) const {
    const uint32_t lane = threadIdx.x % 32, row = pairBrought(round) % 8;
    const uint8_t *from = static_cast<const uint8_t *>(args.activated) + static_cast<uint64_t>(pair.row) * args.k;
    if (lane < blocks() && firstBrought() == 0)
      scalesOf(pairBrought(round))[lane] =
          lane < args.k / kFp8Block
              ? scaled.rowScales[static_cast<uint64_t>(lane) * scaled.rowScaleStride + pair.row] * pair.ofWeights
              : 0;
    for (uint32_t column = (firstBrought() * 32 + lane) * 16; column < blocks() * kFp8Block;
         column += bringers * 32 * 16) {
      const bool exists = column < args.k;
      const uint4 codes = ptx::load16(from + (exists ? column : 0), exists);
      const uint32_t to = rowTile(round, column / kFp8Block) + tile::swizzled(row, column % kFp8Block / 16);
      ptx::storeShared8(to, make_uint2(codes.x, codes.y));
      ptx::storeShared8(to + 8, make_uint2(codes.z, codes.w));
    }
    if (round == 0)
      sayRowsHere();
  }

  /// Of `Count` slots from `slot` on, filled one after the other: products of chunks from `chunk` on of a round's four
  /// parts, added to the warp's sums.
  template <uint32_t Count>
  __device__ void multiplySlots(uint32_t barrier, uint32_t slot, uint32_t chunk, uint32_t round, uint32_t present,
                                float (&sum)[2]) const {
    float products[Count][perChunk][4];
    const auto slotOf = [&](uint32_t i) { return slot + i < args.slots ? slot + i : slot + i - args.slots; };
    ptx::wgmmaFence();
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      ptx::barrierWait(barrier + i * 8, 0);
      startFewProducts(at(slotOf(i)), rowTile(round, (chunk + i) * perChunk), products[i]);
    }
    ptx::wgmmaCommit();
    ptx::wgmmaWait<0>();
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      if (threadIdx.x % 32 == 0)
        ptx::barrierArrive(empty + slotOf(i) * 8);
      if (adds(present, round))
        addProducts(products[i], scalesOf(pairAdded(round)) + (chunk + i) * perChunk, sum);
    }
  }

  /// Where a token's parts are no more than a product has: one warpgroup, two chunks at once.
  __device__ void multiplyFour(uint32_t present, float (&sum)[2]) const {
    const uint32_t atOnce = args.slots > 1 ? 2 : 1;
    uint32_t slot = 0;
#pragma unroll 1
    for (uint32_t chunk = 0; chunk < chunks; chunk += atOnce) {
      if (atOnce == 2 && chunk + 1 < chunks)
        multiplySlots<2>(full + chunk * 8, slot, chunk, 0, present, sum);
      else
        multiplySlots<1>(full + chunk * 8, slot, chunk, 0, present, sum);
      for (slot += atOnce; slot >= args.slots;)
        slot -= args.slots;
    }
  }

  /// Both warpgroups, fours of parts in turn.
  __device__ void multiplyFours(uint32_t present, float (&sums)[rounds][2]) const {
    const uint32_t group = tile::warpgroup();
    uint32_t barrier = full, slot = 0;
#pragma unroll 1
    for (uint32_t chunk = 0; chunk < chunks; ++chunk)
#pragma unroll
      for (uint32_t r = 0; r < rounds; ++r)
#pragma unroll
        for (uint32_t g = 0; g < 2; ++g) {
          constexpr uint32_t four = (1u << kDownFewFp8Pairs) - 1;
          if (!(present >> (r * kDownFewWarps + g * kDownFewFp8Pairs) & four))
            continue;
          if (g == group)
            multiplySlots<1>(barrier, slot, chunk, r, present, sums[r]);
          barrier += 8;
          if (++slot == args.slots)
            slot = 0;
        }
  }

  /// By the multiplying warps. `rounded`: what experts give, rounded.
  __device__ void multiply(float (&rounded)[Base::parts][kDownFewColumns]) const {
    const uint32_t warp = tile::uniform(threadIdx.x / 32), group = tile::warpgroup();
    const tile::FewPlace place = tile::fewPlace(args.few);
    const int32_t rowOfLane = tile::fewSlot(args.few, place);
    const uint32_t present = Base::ofToken(__ballot_sync(tile::allLanes, rowOfLane >= 0));
    Pair pairs[rounds];
#pragma unroll
    for (uint32_t r = 0; r < rounds; ++r)
      pairs[r] = pairOf(pairBrought(r), place.expert, rowOfLane);

    ptx::waitForPrevious();
    const float weight = warp == 0 ? Base::weightOfLane(present) : 0;
    const bool brings = bringers == 1 || firstBrought() < chunks;
    if (pairs[0].row < 0 || !brings)
      sayRowsHere();
#pragma unroll
    for (uint32_t r = 0; r < rounds; ++r)
      if (pairs[r].row >= 0 && brings) {
        if (scaled.rowScales)
          bringQuantised(pairs[r], r);
        else
          bring(pairs[r], r);
      }
    ptx::fenceProxyAsync(); // wgmma reads what this lane has written
    ptx::namedBarrier<1, kDownFewWarps * 32>();

    float sums[rounds][2] = {};
    if constexpr (Base::parts <= kDownFewFp8Pairs) {
      if (group == 0 && present)
        multiplyFour(present, sums[0]);
    } else {
      multiplyFours(present, sums);
    }
#pragma unroll
    for (uint32_t r = 0; r < rounds; ++r)
      if (adds(present, r))
        leave(sums[r], rounded[warp + r * kDownFewWarps]);
    ptx::namedBarrier<1, kDownFewWarps * 32>();
    if (warp == 0)
      Base::combine(present, weight, rounded);
  }

  /// Whether the warp's part has an expert. `present`: of the token's pairs.
  static __device__ bool adds(uint32_t present, uint32_t round) { return present >> pairAdded(round) & 1; }

  /// Of a lane's products those with the row of the warp's part, if it is among the lane's two.
  static __device__ void addProducts(const float (&products)[perChunk][4], const float *scales, float (&sum)[2]) {
    const bool odd = pairAdded(0) % 2;
#pragma unroll
    for (uint32_t block = 0; block < perChunk; ++block)
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half)
        sum[half] += (odd ? products[block][half * 2 + 1] : products[block][half * 2]) * scales[block];
  }

  /// What down would write of a part.
  static __device__ void leave(const float (&sum)[2], float (&to)[kDownFewColumns]) {
    const uint32_t lane = threadIdx.x % 32;
    if (lane % 4 == pairAdded(0) / 2) {
      to[lane / 4] = Base::roundedOf(sum[0]);
      to[lane / 4 + 8] = Base::roundedOf(sum[1]);
    }
  }
};

/// As downFew: the bits that down and combine give. `weights`: downFewFp8Tensor().
///
/// Launch: downFewFp8Blocks() blocks of kDownFewThreads threads, downFewFp8SharedBytes(topK, k, args.down.slots), with
/// C.groups of downFewFp8Groups(); downIsFewFp8().
template <DownFewConfig C>
__global__ void __launch_bounds__(kDownFewThreads, 2)
    downFewFp8(const __grid_constant__ TensorMap weights, const __grid_constant__ DownFewFp8Args args) {
  extern __shared__ uint8_t unaligned[];
  constexpr uint32_t mostSlots = kDownFewFp8MostSharedBytes / kDownFewFp8SlotBytes;
  __shared__ __align__(8) uint64_t barriers[kDownFewFp8MostFills + mostSlots + 1];
  __shared__ __align__(16) float scales[kDownFewFp8MostRowBytes / kFp8Block];
  __shared__ __align__(16) float rounded[C.topK * C.groups][kDownFewColumns];
  __shared__ uint32_t from[C.topK * C.groups];
  // A block may have 227 KB, a multiprocessor has 228; each block takes 1 KB besides.
  constexpr uint32_t otherBytes = sizeof(barriers) + sizeof(scales) + sizeof(rounded) + sizeof(from) + 1024;
  static_assert(kDownFewFp8MostSharedBytes + otherBytes <= 227 * 1024);
  static_assert(2 * (kDownFewFp8SharedBytes + otherBytes) <= 228 * 1024, "two blocks a multiprocessor");
  const uint32_t full = ptx::sharedAddress(barriers), numTokens = args.down.few.numTokens;
  const uint32_t rows = (ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024;
  // Blocks of tokens that may share an expert follow each other.
  const DownFewFp8Block<C> block{
      {args.down, blockIdx.x % numTokens, blockIdx.x / numTokens * (C.groups * kDownFewColumns)},
      args,
      rows,
      rows + downFewFp8RowBytes(C.topK, args.down.k),
      full,
      full + kDownFewFp8MostFills * 8,
      full + (kDownFewFp8MostFills + mostSlots) * 8,
      scales,
      ceilDivide(args.down.k, kDownFewChunk)};
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
    block.load(&weights, expert, from);
  else
    block.multiply(rounded);
}

} // namespace moec
