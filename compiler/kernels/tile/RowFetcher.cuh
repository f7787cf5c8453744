// Token rows that do not lie by slot, each from its token, by the copy engine.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/CachePolicy.cuh"
#include "compiler/kernels/ptx/Elect.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/RowGroups.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec::tile {

/// A warp that has the engine fetch rows of a tile, a box of one row each (a box is swizzled by where it goes, so they
/// are as boxes of many would be): groups of rows in turn with the other warps that do, of all blocks of the cluster.
/// Their bytes are in what Loader expects.
template <GemmConfig C, class RingOf> struct RowFetcher {
  using Ring = RingOf;
  using Groups = RowGroups<C.tileTokens>;
  static constexpr uint32_t warps = Ring::loadingWarps * Ring::blocksTogether;

  const GroupedGemmArgs &args;
  const TensorMap *tokenMap;
  Ring ring;
  WorkQueue<Ring::takers, Ring::blocksTogether> queue;
  uint32_t warp; // among all of them

  __device__ void run() {
    ptx::waitForPrevious();
    for (Work work = queue.take(); work.rows; work = queue.take()) {
      const uint32_t groups = Groups::of(work.rows);
      findRows(work, groups);
      if (ptx::elect())
        fetch(groups);
      ring.advance(ring.numSteps(args.k)); // (the elected lane went round with a ring of its own)
    }
  }

private:
  /// Where this warp's groups come from.
  __device__ void findRows(const Work &work, uint32_t groups) const {
    const int32_t *slotPair = slotPairOf<C>(args);
    const uint32_t lane = threadIdx.x % 32;
    __syncwarp(); // the last tile's have been read
    for (uint32_t group = warp + lane / Groups::size * warps; group < groups; group += 32 / Groups::size * warps)
      Groups::row(group, lane % Groups::size) =
          sourceRow<C>(args, slotPair, work, group * Groups::size + lane % Groups::size);
    __syncwarp();
  }

  /// By one thread.
  __device__ void fetch(uint32_t groups) const {
    const ptx::CachePolicy policy = ptx::keepLong(); // as in Loader
    const uint32_t steps = ring.numSteps(args.k);
    Ring at = ring;
    for (uint32_t step = 0; step < steps; ++step) {
      at.waitEmpty();
#pragma unroll
      for (uint32_t span = 0; span < Ring::spans; ++span) {
        const uint32_t k0 = step * C.tileK + span * Ring::spanElements, to = at.tokens(span);
        for (uint32_t group = warp; group < groups; group += warps) {
          const uint4 rows = Groups::rows(group);
          const uint32_t first = to + group * Groups::size * rowBytes;
          at.loadTokens(tokenMap, first, k0, rows.x, policy);
          at.loadTokens(tokenMap, first + rowBytes, k0, rows.y, policy);
          at.loadTokens(tokenMap, first + 2 * rowBytes, k0, rows.z, policy);
          at.loadTokens(tokenMap, first + 3 * rowBytes, k0, rows.w, policy);
        }
      }
      ptx::barrierArrive(at.full()); // or a warp without a group could fall behind by two phases, which look like none
      at.next();
    }
  }
};

} // namespace moec::tile
