// What the copy engine brings to a block with a ring of stages.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/BlockPairs.cuh"
#include "compiler/kernels/tile/CombinedRows.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Progress.cuh"
#include "compiler/kernels/tile/RowGroups.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkFinder.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec::tile {

/// Waits for what tells of the step's pairs, unless neither ids nor tables come from the kernel just before this one.
template <class Ring> __device__ void awaitIds() {
  if constexpr (Ring::followsDispatch)
    ptx::waitForPrevious();
}

/// By the loading warpgroup, before its warps part.
template <GemmConfig C, class Ring> __device__ void prepareTables(const GroupedGemmArgs &args) {
  if (!findsBlockPairs<C>(args.few))
    return;
  awaitIds<Ring>();
  if constexpr (mayFindBlockPairs(C)) {
    static_assert(!Ring::overlaps, "combine reads gate-up's slots before it waits: down must have waited for gate-up");
    writeBlockTables<C>(args);
  }
}

/// One thread that picks the block's tiles and starts copies by TMA: weights, and token rows where `RingOf`
/// (FittedRing<C> or Fp8Ring<C>) takes them in boxes. Its warp helps it to begin.
template <GemmConfig C, class RingOf> struct Loader {
  using Ring = RingOf;
  using Finder = WorkFinder<C, Ring>;
  static constexpr uint32_t boxTokens = tokenBoxRows(C);
  static_assert(C.tileTokens % boxTokens == 0, "boxes stay within their tile");

  const GroupedGemmArgs &args;
  const TensorMap *weightMap, *tokenMap;
  Ring ring;
  WorkQueue<Ring::takers, Ring::blocksTogether> queue;
  /// Each tile of an expert's weights reads its token rows again, while weights that are read once pass through the
  /// cache. (Measured: mixed tiles gain up to 4 % and read up to a tenth less; a policy for weights, even the normal
  /// one by name, loses 2 to 10 %.)
  ptx::CachePolicy tokenPolicy{};
  WorkQueue<Ring::takers, Ring::blocksTogether> taking = queue; // its place among those who take

  /// By all lanes of a warp, the first of which then runs.
  __device__ void prepare() const {
    if (findsBlockPairs<C>(args.few))
      return; // prepareTables() has
    awaitIds<Ring>();
    if (args.few.ids)
      writeFewTables<C>(args.few);
  }

  /// By all lanes, behind run().
  __device__ void end() const {
    if constexpr (Ring::combines) {
      __syncwarp();
      if (!followsProgress<Ring>(args))
        ptx::waitForPrevious(); // (each lane for itself; it costs nothing here, at the end)
      finishStep(args);
    }
  }

  __device__ void run() {
    tokenPolicy = ptx::keepLong();
    if constexpr (Ring::blocksTogether > 1)
      queue.open();
    Finder finder{args};
    const Work first = finder.first();
    const bool finds = Ring::blocksTogether == 1 || ptx::clusterRank() == 0, follows = followsProgress<Ring>(args),
               beginsNext = tellsProgress<Ring>(args) || (Ring::beginsNext && finder.hasRounds(Ring::leastRounds));
    if constexpr (!Ring::followsDispatch) {
      prefetchFirst(Ring::own(first));
      if (!follows)
        ptx::waitForPrevious();
      else if (finds)
        finder.waitForRows();
    }
    if (beginsNext) // its blocks take the places of ours that have ended
      ptx::startNext();
    if (finds)
      queue.put(first);
    Work work = taken(finder, finds);
    for (uint32_t begun = Ring::followsDispatch ? 0 : prefetchedSteps(); work.rows; begun = 0) {
      if (finds)
        finder.restart();
      load(Ring::own(work), finder, begun);
      while (!finder.done())
        finder.advance(queue);
      work = taken(finder, finds);
    }
    if (!beginsNext)
      ptx::startNext(); // not before all is under way: what starts earlier takes the place of blocks with work
    if (follows && blockIdx.x == 0)
      ptx::waitForPrevious(); // who waits for this launch has then waited for that one as well
  }

  /// The next tile, which this thread found if it finds them.
  __device__ Work taken(Finder &finder, bool finds) {
    Work work = finder.following;
    if constexpr (Ring::blocksTogether > 1) {
      work = taking.takeAlone();
      if (!finds)
        finder.seeGiven(work);
    }
    if (followsProgress<Ring>(args))
      ptx::fenceProxyAsyncGlobal(); // the copy engine reads what gate-up wrote
    return work;
  }

  /// Begins the first tile with as much of its weights as the ring holds. Where dispatch is not the kernel just before
  /// this one, neither they nor the tile tables come from it, so this need not wait (dispatch, or what gave the ids,
  /// is done: the kernel before waited for it before it let this one start).
  __device__ void prefetchFirst(const Work &work) const {
    Loader ahead = *this;
    for (uint32_t step = 0; work.rows && step < prefetchedSteps(); ++step, ahead.ring.next())
      ahead.beginStage(work, step);
  }
  __device__ uint32_t prefetchedSteps() const {
    const uint32_t steps = ring.numSteps(args.k);
    return steps < C.stages ? steps : C.stages;
  }

  __device__ void load(const Work &work, Finder &finder, uint32_t begun) {
    const uint32_t steps = ring.numSteps(args.k);
    for (uint32_t step = 0; step < steps; ++step) {
      if (step >= begun) {
        ring.waitEmpty();
        beginStage(work, step);
      }
      if constexpr (Ring::takesBoxes)
        loadTokens(work, step);
      // A piece of looking up the next tile. What it loads is waited for before the next step, so not before all that
      // was begun has its tokens: at a launch's start all blocks draw at once.
      if (step >= begun && !finder.done())
        finder.advance(queue);
      ring.next();
    }
  }

  static __device__ uint32_t numBoxes(const Work &work) { return (work.rows + boxTokens - 1) / boxTokens; }

  /// Of a stage's token rows, what the copy engine brings.
  static __device__ uint32_t tokenBytes(const Work &work) {
    if constexpr (Ring::fetches) // by RowFetcher
      return RowGroups<C.tileTokens>::of(work.rows) * RowGroups<C.tileTokens>::size * rowBytes;
    else
      return Ring::takesBoxes ? numBoxes(work) * boxTokens * rowBytes : 0;
  }

  __device__ void beginStage(const Work &work, uint32_t step) const {
    ptx::barrierArriveExpect(ring.full(), Ring::spans * (Ring::weightBytes + tokenBytes(work)));
#pragma unroll
    for (uint32_t span = 0; span < Ring::spans; ++span) {
      const uint32_t k0 = step * C.tileK + span * Ring::spanElements;
      if constexpr (Ring::gated)
        ptx::tmaLoadInterleaved(ring.weights(span), weightMap, k0, work.firstColumn / 8, work.expert, ring.full());
      else
        ptx::tmaLoad3d(ring.weights(span), weightMap, k0, work.firstColumn, work.expert, ring.full());
    }
  }

  /// Blocks of a cluster load boxes in turn, each for all of them.
  __device__ void loadTokens(const Work &work, uint32_t step) const {
    const uint32_t first = Ring::blocksTogether > 1 ? ptx::clusterRank() : 0;
#pragma unroll
    for (uint32_t span = 0; span < Ring::spans; ++span)
      for (uint32_t box = first; box < numBoxes(work); box += Ring::blocksTogether) {
        const uint32_t to = ring.tokens(span) + box * boxTokens * rowBytes,
                       k0 = step * C.tileK + span * Ring::spanElements, row = work.firstSlot + box * boxTokens;
        ring.loadTokens(tokenMap, to, k0, row, tokenPolicy);
      }
  }
};

} // namespace moec::tile
