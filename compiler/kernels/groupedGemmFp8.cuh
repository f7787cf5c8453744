// Grouped GEMM of e4m3 for Hopper. Few rows: weights are on the 64-row side of wgmma, token rows on the
// other, whose width each tile picks. Many: token rows are on the 64-row side. One thread loads, one warp
// brings the scales (of few pairs three, who quantise the rows as well), the other warpgroups multiply; 128
// elements of the sum at a time are multiplied and then added up in f32 times their scales.
#pragma once

#include "compiler/kernels/fp8/OutputQuantiser.cuh"
#include "compiler/kernels/fp8/Products.cuh"
#include "compiler/kernels/fp8/RowMultiplier.cuh"
#include "compiler/kernels/fp8/RowQuantiser.cuh"
#include "compiler/kernels/fp8/ScaleLoader.cuh"
#include "compiler/kernels/ptx/Elect.cuh"
#include "compiler/kernels/ptx/Registers.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/Loader.cuh"
#include "compiler/kernels/tile/SwappedMultiplier.cuh"

namespace moec {

/// output[slot, n] = sum over k of tokens[slot, k] * weights[expert, n, k], both times their
/// scales; gate-up: activation(gate, up). `weights` maps gate and up rows interleaved by eight as
/// (128 elements of k, 8 rows, 2, tileWeights / 16 groups, 1 expert); down: [E, n, k] in boxes of
/// 128 elements of k by tileWeights rows. `tokens` maps [numSlots, k] in boxes of 128 elements by
/// tokenBoxRows(C) rows (of who quantises not looked at), `output` args.gemm.output in boxes of 128 bytes of columns by
/// kOutputBoxRows rows. All are swizzled by 128 bytes (compiler/core/CudaTensors.h).
///
/// The tile tables and weights are read while the kernel before this one runs, which must have
/// waited for dispatch before it let this one start; quantise and gate-up do. Gate-up that quantises
/// waits itself.
///
/// Launch: any grid, hopperThreads(C) threads, fp8SharedBytes(C) or more.
template <GemmConfig C, class Activation>
__global__ void __launch_bounds__(hopperThreads(C), C.blocksPerSm)
    groupedGemmFp8(const __grid_constant__ TensorMap weights, const __grid_constant__ TensorMap tokens,
                   const __grid_constant__ TensorMap output, const __grid_constant__ Fp8GemmArgs args) {
  extern __shared__ uint8_t unaligned[];
  __shared__ __align__(8) uint64_t barriers[2 * C.stages];
  __shared__ __align__(16) tile::SharedWork sharedWork;
  using Ring = Fp8Ring<C>;
  Ring ring;
  tile::WorkQueue<Ring::takers, Ring::blocksTogether> queue{&sharedWork};
  ring.tiles = tile::uniform((ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024); // (in a register, not found anew)
  ring.barriers = ptx::sharedAddress(barriers);
  if (threadIdx.x < 32 && ptx::elect()) {
    ring.init();
    queue.init();
    ptx::prefetchTensorMap(&weights);
    if constexpr (Ring::takesBoxes)
      ptx::prefetchTensorMap(&tokens);
    ptx::prefetchTensorMap(&output);
  }
  __syncthreads();

  // Registers follow the work. What the block may share out is what it started with, 3 * 168;
  // asking for more waits forever.
  constexpr bool trade = Ring::groups == 2 && C.blocksPerSm == 1;
  static_assert(56 + 2 * 224 <= 3 * 168);
  const uint32_t warpgroup = tile::warpgroup();
  if (warpgroup == 0) {
    if constexpr (trade)
      ptx::giveRegisters<56>();
    tile::prepareTables<C, Ring>(args.gemm);
    if (threadIdx.x < 32) {
      tile::Loader<C, Ring> loader{args.gemm, &weights, &tokens, ring, queue};
      loader.prepare();
      if (ptx::elect())
        loader.run();
      loader.end();
    } else if constexpr (C.quantises) {
      Fp8RowQuantiser<C>{args, ring, queue, tile::uniform(threadIdx.x / 32) - 1}.run();
    } else if (threadIdx.x / 32 == 1) {
      Fp8ScaleLoader<C>{args, ring, queue}.run();
    }
  } else {
    if constexpr (trade)
      ptx::takeRegisters<224>();
    const tile::Consumer<C, Ring> consumer{args.gemm, &output, ring, queue, warpgroup - 1};
    if constexpr (C.swapAB && givesQuantised(C))
      tile::multiplyTiles(Fp8OutputQuantiser<C, Activation>{{{consumer}}, args});
    else if constexpr (C.swapAB)
      tile::multiplyTiles(tile::SwappedMultiplier<C, Fp8Products<C>, Activation>{{consumer}});
    else
      tile::multiplyTiles(Fp8RowMultiplier<C, Activation>{consumer, args});
  }
}

} // namespace moec
