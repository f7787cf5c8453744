// Token rows of groupedGemmFitted's gate-up, each from its token, by cp.async.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/fitted/Ring.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Registers.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// The three warps that copy a tile's rows.
template <GemmConfig C> struct FittedRowCopier {
  using Ring = FittedRing<C>;
  static constexpr uint32_t rowStep = gatheringWarps(C) * 32 / tile::piecesPerRow; // 12
  static constexpr uint32_t loads = ceilDivide(C.tileTokens, rowStep);             // of a thread, in a stage

  const GroupedGemmArgs &args;
  Ring ring;
  tile::WorkQueue<Ring::takers, Ring::blocksTogether> queue;

  __device__ void run() {
    ptx::waitForPrevious();
    for (tile::Work work = queue.take(); work.rows; work = queue.take())
      copy(work);
    ptx::cpAsyncCommit();
    ptx::cpAsyncWait<0>();
  }

  __device__ void copy(const tile::Work &work) {
    const uint32_t thread = threadIdx.x - 32;
    const uint32_t piece = thread % tile::piecesPerRow, firstRow = thread / tile::piecesPerRow;
    const int32_t *slotPair = tile::slotPairOf<C>(args);
    uint32_t rows[loads];
#pragma unroll
    for (uint32_t i = 0; i < loads; ++i)
      rows[i] = tile::sourceRow<C>(args, slotPair, work, firstRow + i * rowStep) * (args.k / 8); // in 16 bytes
    const uint32_t steps = ring.numSteps(args.k);
    // A row's swizzle is that of the eighth row before it.
    const uint32_t even = tile::swizzled(firstRow, piece), odd = tile::swizzled(firstRow + rowStep, piece);
    static_assert(2 * rowStep % 8 == 0);
    uint64_t source = reinterpret_cast<uint64_t>(args.tokens) + piece * 16;
    ptx::keepInRegister(source);                     // else it is fetched as a constant again for each row
    const ptx::CachePolicy policy = ptx::keepLong(); // as in tile::Loader
    for (uint32_t step = 0; step < steps; ++step) {
      ring.waitEmpty();
#pragma unroll
      for (uint32_t span = 0; span < Ring::spans; ++span) {
        const uint32_t k0 = step * C.tileK + span * 64;
        const bool valid = k0 + piece * 8 < args.k;
        const uint64_t from = valid ? source + k0 * 2 : source;
#pragma unroll
        for (uint32_t i = 0; i < loads; ++i)
          if (firstRow + i * rowStep < work.rows)
            ptx::cpAsync16(ring.tokens(span) + (i % 2 ? odd : even) + i / 2 * 2 * rowStep * tile::rowBytes,
                           reinterpret_cast<const void *>(from + static_cast<uint64_t>(rows[i]) * 16), valid, policy);
      }
      ptx::cpAsyncArrive(ring.full());
      ring.next();
    }
  }
};

} // namespace moec
