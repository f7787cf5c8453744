// What the copy engine brings to a block of groupedGemmFitted.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/fitted/Ring.cuh"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// One thread that picks the block's tiles and starts all copies by TMA: weights, and token rows that follow each other (down's,
/// and gate-up's where they are laid out).
template <GemmConfig C> struct FittedLoader {
  using Ring = FittedRing<C>;
  static constexpr uint32_t boxTokens = tokenBoxRows(C);
  static_assert(C.tileTokens % boxTokens == 0, "boxes stay within their tile");

  const GroupedGemmArgs &args;
  const TensorMap *weightMap, *tokenMap;
  Ring ring;
  tile::WorkQueue<C> queue;

  __device__ void run() {
    tile::WorkFinder<C> finder{args};
    tile::Work work;
    if constexpr (Ring::gathers) {
      ptx::waitForPrevious();
      work = finder.first();
    } else {
      work = finder.first();
      prefetchFirst(work);
      ptx::waitForPrevious();
    }
    queue.put(work);
    for (uint32_t begun = Ring::gathers ? 0 : prefetchedSteps(); work.rows; begun = 0) {
      finder.restart();
      load(work, finder, begun);
      while (!finder.done())
        finder.advance(queue);
      work = finder.following;
    }
    ptx::startNext(); // not before all is under way: what starts earlier takes the place of blocks with work
  }

  /// Begins the first tile with as much of its weights as the ring holds. Where dispatch is not the kernel just before this one,
  /// neither they nor the tile tables come from it, so this need not wait (dispatch is done: the kernel before waited for it
  /// before it let this one start).
  __device__ void prefetchFirst(const tile::Work &work) const {
    FittedLoader ahead = *this;
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
      if constexpr (!Ring::gathers)
        loadTokens(work, step);
      if (!finder.done())
        finder.advance(queue); // a piece of looking up the next tile, whose loads are back by the next step
      ring.next();
    }
  }

  static __device__ uint32_t numBoxes(const tile::Work &work) { return (work.rows + boxTokens - 1) / boxTokens; }

  __device__ void beginStage(const tile::Work &work, uint32_t step) const {
    constexpr uint32_t boxBytes = boxTokens * tile::rowBytes;
    ptx::barrierArriveExpect(ring.full(),
                             Ring::spans * (Ring::weightBytes + (Ring::gathers ? 0 : numBoxes(work) * boxBytes)));
#pragma unroll
    for (uint32_t span = 0; span < Ring::spans; ++span) {
      const uint32_t k0 = step * C.tileK + span * 64;
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
        ptx::tmaLoad2d(ring.tokens(span) + box * boxTokens * tile::rowBytes, tokenMap, step * C.tileK + span * 64,
                       work.firstSlot + box * boxTokens, ring.full());
  }
};

} // namespace moec
