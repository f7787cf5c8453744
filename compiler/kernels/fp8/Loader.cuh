// The thread of groupedGemmFp8 that starts the copies of weights and tokens, and the warp that
// fetches their scales.
#pragma once

#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// Tiles are taken by the warps that multiply and the scales' one.
template <GemmConfig C> struct Fp8Queue : tile::WorkQueue<C> {
  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < 2; ++i) {
      ptx::barrierInit(ptx::sharedAddress(&this->shared->full[i]), 1);
      ptx::barrierInit(ptx::sharedAddress(&this->shared->empty[i]), C.warpsTokens * 4 + 1);
    }
    ptx::fenceBarrierInit();
  }
};

/// One thread that picks the block's tiles and starts all copies by TMA. Both products' rows follow
/// each other by slot.
template <GemmConfig C> struct Fp8Loader {
  using Ring = Fp8Ring<C>;
  static constexpr uint32_t boxTokens = tokenBoxRows(C);
  static_assert(C.tileTokens % boxTokens == 0, "boxes stay within their tile");

  const GroupedGemmArgs &args;
  const TensorMap *weightMap, *tokenMap;
  Ring ring;
  Fp8Queue<C> queue;

  __device__ void run() {
    tile::WorkFinder<C> finder{args};
    tile::Work work = finder.first();
    prefetchFirst(work);
    ptx::waitForPrevious();
    queue.put(work);
    for (uint32_t begun = prefetchedSteps(); work.rows; begun = 0) {
      finder.restart();
      load(work, finder, begun);
      while (!finder.done())
        finder.advance(queue);
      work = finder.following;
    }
    ptx::startNext(); // not before all is under way: what starts earlier takes the place of blocks
                      // with work
  }

  /// Begins the first tile with as much of its weights as the ring holds: neither they nor the tile
  /// tables come from the kernel before this one, which has let this one start after it had waited
  /// itself (quantise.cuh).
  __device__ void prefetchFirst(const tile::Work &work) const {
    Fp8Loader ahead = *this;
    for (uint32_t step = 0; work.rows && step < prefetchedSteps(); ++step, ahead.ring.next())
      ahead.beginStage(work, step);
  }
  __device__ uint32_t prefetchedSteps() const {
    const uint32_t steps = ring.numSteps(args.k);
    return steps < C.stages ? steps : C.stages;
  }

  __device__ void load(const tile::Work &work, tile::WorkFinder<C> &finder, uint32_t begun) {
    const uint32_t steps = ring.numSteps(args.k);
    for (uint32_t step = 0; step < steps; ++step) {
      if (step >= begun) {
        ring.waitEmpty();
        beginStage(work, step);
      }
      loadTokens(work, step);
      if (!finder.done())
        finder.advance(queue); // a piece of looking up the next tile, whose loads are back by the next step
      ring.next();
    }
  }

  static __device__ uint32_t numBoxes(const tile::Work &work) { return (work.rows + boxTokens - 1) / boxTokens; }

  __device__ void beginStage(const tile::Work &work, uint32_t step) const {
    constexpr uint32_t boxBytes = boxTokens * tile::rowBytes;
    ptx::barrierArriveExpect(ring.full(), Ring::spans * (Ring::weightBytes + numBoxes(work) * boxBytes));
#pragma unroll
    for (uint32_t span = 0; span < Ring::spans; ++span) {
      const uint32_t k0 = step * C.tileK + span * kFp8Block;
      if constexpr (Ring::gated)
        ptx::tmaLoadInterleaved(ring.weights(span), weightMap, k0, work.firstColumn / 8, work.expert, ring.full());
      else
        ptx::tmaLoad3d(ring.weights(span), weightMap, k0, work.firstColumn, work.expert, ring.full());
    }
  }

  __device__ void loadTokens(const tile::Work &work, uint32_t step) const {
#pragma unroll
    for (uint32_t span = 0; span < Ring::spans; ++span)
      for (uint32_t box = 0; box < numBoxes(work); ++box)
        ptx::tmaLoad2d(ring.tokens(span) + box * boxTokens * tile::rowBytes, tokenMap,
                       step * C.tileK + span * kFp8Block, work.firstSlot + box * boxTokens, ring.full());
  }
};

/// One warp that brings the scales of each stage. They are floats at any multiple of four bytes,
/// which the copy engine does not take.
template <GemmConfig C> struct Fp8ScaleLoader {
  using Ring = Fp8Ring<C>;

  const Fp8GemmArgs &args;
  Ring ring;
  Fp8Queue<C> queue;

  __device__ void run() {
    ptx::waitForPrevious();
    for (tile::Work work = queue.take(); work.rows; work = queue.take())
      load(work);
    ptx::cpAsyncCommit();
    ptx::cpAsyncWait<0>();
  }

  __device__ void load(const tile::Work &work) {
    const uint32_t lane = threadIdx.x % 32, kBlocks = (args.gemm.k + kFp8Block - 1) / kFp8Block;
    const float *weightScales = weightScalesOf(work, kBlocks);
    const float *tokenScales = args.tokenScales + work.firstSlot + lane;
    const uint32_t steps = ring.numSteps(args.gemm.k);
    for (uint32_t step = 0; step < steps; ++step) {
      ring.waitEmpty();
#pragma unroll
      for (uint32_t span = 0; span < Ring::spans; ++span) {
        const uint32_t block = step * Ring::spans + span;
        const bool exists = block < kBlocks; // else zeros, as the elements there are
#pragma unroll
        for (uint32_t row = 0; row < C.tileTokens; row += 32) {
          const bool valid = exists && row + lane < work.rows;
          const float *from = tokenScales + static_cast<uint64_t>(block) * args.tokenScaleStride + row;
          if (row + lane < C.tileTokens)
            ptx::cpAsync4(ring.scales(span) + (row + lane) * 4, valid ? from : args.tokenScales, valid);
        }
        if (lane < 2)
          ptx::cpAsync4(ring.weightScales(span) + lane * 4, exists ? weightScales + block : weightScales, exists);
      }
      ptx::cpAsyncArrive(ring.full());
      ring.next();
    }
  }

  /// The lane's row of scales, of lanes 0 and 1: gate's and up's; down: of the tile's first and
  /// second 128 weight rows.
  __device__ const float *weightScalesOf(const tile::Work &work, uint32_t kBlocks) const {
    const uint32_t second = threadIdx.x % 32 == 1;
    const float *from = Ring::gated && second ? args.upWeightScales : args.weightScales;
    const uint32_t rowBlocks = (args.gemm.n + kFp8Block - 1) / kFp8Block;
    uint32_t rowBlock = work.firstColumn / kFp8Block + (Ring::gated ? 0 : second);
    rowBlock = rowBlock < rowBlocks ? rowBlock : rowBlocks - 1; // past the last: no weight row asks for it
    return from + static_cast<int64_t>(work.expert) * args.expertScaleStride +
           static_cast<uint64_t>(rowBlock) * kBlocks;
  }
};

} // namespace moec
