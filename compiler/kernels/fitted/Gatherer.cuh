// How the token rows of groupedGemmFitted's gate-up come, each from its token.
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

/// Gate-up, unless its rows are laid out: three warps that gather the token rows.
template <GemmConfig C> struct FittedGatherer {
  using Ring = FittedRing<C>;
  static constexpr uint32_t rowStep = 96 / tile::piecesPerRow; // 12: every second row is swizzled as the first is
  static constexpr uint32_t tokenLoads = (C.tileTokens + rowStep - 1) / rowStep;

  const GroupedGemmArgs &args;
  Ring ring;
  tile::WorkQueue<Ring::takers> queue;

  __device__ void run() {
    ptx::waitForPrevious();
    for (tile::Work work = queue.take(); work.rows; work = queue.take())
      gather(work);
    ptx::cpAsyncCommit();
    ptx::cpAsyncWait<0>();
  }

  __device__ void gather(const tile::Work &work) {
    const uint32_t thread = threadIdx.x - 32;
    const uint32_t piece = thread % tile::piecesPerRow, firstRow = thread / tile::piecesPerRow;
    const int32_t *slotPair = tile::slotPairOf(args);
    uint32_t rows[tokenLoads];
#pragma unroll
    for (uint32_t i = 0; i < tokenLoads; ++i)
      rows[i] = tile::sourceRow<C>(args, slotPair, work, firstRow + i * rowStep) * (args.k / 8); // in 16 bytes
    const uint32_t steps = ring.numSteps(args.k);
    const uint32_t even = tile::swizzled(firstRow, piece), odd = tile::swizzled(firstRow + rowStep, piece);
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
        for (uint32_t i = 0; i < tokenLoads; ++i)
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
