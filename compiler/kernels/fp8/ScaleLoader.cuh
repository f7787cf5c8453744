// The warp of groupedGemmFp8 that fetches the scales.
#pragma once

#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// One warp that brings the scales of each stage. They are floats at any multiple of four bytes,
/// which the copy engine does not take.
template <GemmConfig C> struct Fp8ScaleLoader {
  using Ring = Fp8Ring<C>;

  const Fp8GemmArgs &args;
  Ring ring;
  tile::WorkQueue<Ring::takers, Ring::blocksTogether> queue;

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
