// Token rows of groupedGemmFp8 where a step's pairs are few: quantised by those who bring them.
#pragma once

#include "compiler/kernels/fp8/BlockPart.cuh"
#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/fp8/ScaleLoader.cuh"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Load.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// A warp that does: stages in turn with the others, half a warp a block of the scales (quantise.cuh makes the same of
/// them). What a row waits for, one step after the other, is most of its time, so stages go side by side rather than
/// rows, of which there is one as a rule. Every tile of weights has its rows quantised anew.
template <GemmConfig C> struct Fp8RowQuantiser {
  using Ring = Fp8Ring<C>;
  static constexpr uint32_t warps = Ring::loadingWarps;
  static_assert(C.stages >= kQuantisingStages);
  static constexpr uint32_t pairs = Ring::spans / 2; // of blocks, that a stage has of a row
  static_assert(Ring::spans == 2 * pairs);
  static constexpr uint32_t together = 4; // rows
  static constexpr uint32_t ahead = 2;    // of the warp's stages, whose first rows are on their way into registers

  /// What a lane has of some rows in a stage before they are quantised.
  struct Rows {
    uint4 parts[together][pairs];
  };

  const Fp8GemmArgs &args;
  Ring ring;
  tile::WorkQueue<Ring::takers, Ring::blocksTogether> queue;
  uint32_t warp; // among them
  tile::Work work{};
  const float *weightScales = nullptr; // two lanes a block

  __device__ void run() {
    ptx::waitForPrevious();
    for (work = queue.take(); work.rows; work = queue.take())
      bring();
  }

private:
  static __device__ uint32_t lane() { return threadIdx.x % 16; }
  static __device__ uint32_t half() { return threadIdx.x / 16 % 2; }

  __device__ void bring() {
    const uint32_t steps = ring.numSteps(args.gemm.k);
    weightScales = fp8WeightScales<C>(args, work, threadIdx.x % 2);
    Rows rows[ahead];
    float scales[ahead];
#pragma unroll
    for (uint32_t i = 0; i < ahead; ++i)
      load(warp + i * warps, rows[i], scales[i]);
    Ring at = ring;
    at.advance(warp);
    for (uint32_t first = warp; first < steps; first += ahead * warps)
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i) {
        const uint32_t step = first + i * warps;
        if (step >= steps)
          break;
        at.waitEmpty();
        store(at, 0, rows[i]);
        for (uint32_t row = together; row < work.rows; row += together) {
          loadRows(step, row, rows[i]);
          store(at, row, rows[i]);
        }
        storeScales(at, scales[i]);
        ptx::fenceProxyAsync(); // wgmma reads what this lane has written
        ptx::barrierArrive(at.full());
        load(step + ahead * warps, rows[i], scales[i]);
        at.advance(warps);
      }
    ring.advance(steps);
  }

  __device__ void load(uint32_t step, Rows &rows, float &scale) const {
    loadRows(step, 0, rows);
    const uint32_t block = step * Ring::spans + threadIdx.x % 32 / 2;
    scale = bringsWeightScale() && block < ceilDivide(args.gemm.k, kFp8Block) ? weightScales[block] : 0;
  }

  /// Zeros of what lies beyond the rows' end.
  __device__ void loadRows(uint32_t step, uint32_t first, Rows &rows) const {
#pragma unroll
    for (uint32_t i = 0; i < together; ++i) {
      if (first + i >= work.rows)
        break;
      const uint32_t source = tile::sourceRow<C>(args.gemm, tile::slotPairOf<C>(args.gemm), work, first + i);
#pragma unroll
      for (uint32_t pair = 0; pair < pairs; ++pair) {
        const uint32_t column = step * C.tileK + (pair * 2 + half()) * kFp8Block + lane() * 8;
        const bool exists = column < args.gemm.k;
        rows.parts[i][pair] =
            ptx::load16(tile::elementAt(args.gemm.tokens, source, args.gemm.k, exists ? column : 0), exists);
      }
    }
  }

  /// By all lanes of a warp.
  __device__ void store(const Ring &at, uint32_t first, const Rows &rows) const {
#pragma unroll
    for (uint32_t i = 0; i < together; ++i) {
      const uint32_t row = first + i;
      if (row >= work.rows)
        break;
#pragma unroll
      for (uint32_t pair = 0; pair < pairs; ++pair) {
        const BlockPart<C.element> part(rows.parts[i][pair]);
        const float most = part.most();
        const uint32_t span = pair * 2 + half();
        ptx::storeShared8(at.tokens(span) + tile::swizzled(row, lane() / 2) + lane() % 2 * 8,
                          part.times(kFp8Most / most));
        if (lane() == 0)
          ptx::storeShared4(at.scales(span) + row * 4, __float_as_uint(most / kFp8Most));
      }
    }
  }

  static __device__ bool bringsWeightScale() { return threadIdx.x % 32 < 2 * Ring::spans; }
  /// The weights', and zeros for the rows that the tile has not.
  __device__ void storeScales(const Ring &at, float scale) const {
    if (bringsWeightScale())
      ptx::storeShared4(at.weightScales(threadIdx.x % 32 / 2) + threadIdx.x % 2 * 4, __float_as_uint(scale));
    static_assert(C.tileTokens == 16, "a lane a row");
#pragma unroll
    for (uint32_t pair = 0; pair < pairs; ++pair)
      if (lane() >= work.rows)
        ptx::storeShared4(at.scales(pair * 2 + half()) + lane() * 4, 0);
  }
};

} // namespace moec
