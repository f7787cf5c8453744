// The warp of groupedGemmFp8 that fetches the scales.
#pragma once

#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// The scales [ceil(k / 128)] of a tile's first weight rows or second ones: gate's and up's; down: of 128 and 128.
template <GemmConfig C>
__device__ const float *fp8WeightScales(const Fp8GemmArgs &args, const tile::Work &work, bool second) {
  constexpr bool gated = C.role == GemmRole::GateUp;
  const float *from = gated && second ? args.upWeightScales : args.weightScales;
  const uint32_t rowBlocks = ceilDivide(args.gemm.n, kFp8Block);
  uint32_t rowBlock = work.firstColumn / kFp8Block + (!gated && second);
  rowBlock = rowBlock < rowBlocks ? rowBlock : rowBlocks - 1; // past the last: no weight row asks for it
  return from + static_cast<int64_t>(work.expert) * args.expertScaleStride +
         static_cast<uint64_t>(rowBlock) * ceilDivide(args.gemm.k, kFp8Block);
}

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
    const float *weightScales = fp8WeightScales<C>(args, work, lane == 1);
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
};

} // namespace moec
