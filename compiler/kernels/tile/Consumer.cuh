// What multiplying warpgroups of a block with a ring of stages share: their part in the ring, and how outputs leave it.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Elect.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/CombinedRows.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Progress.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec::tile {

/// `RingOf` is FittedRing<C> or Fp8Ring<C>.
template <GemmConfig C, class RingOf> struct Consumer {
  using Ring = RingOf;

  const GroupedGemmArgs &args;
  const TensorMap *outputMap;
  Ring ring;
  WorkQueue<Ring::takers, Ring::blocksTogether> queue;
  uint32_t group;                       // this warpgroup among the multiplying ones
  static constexpr uint32_t nobody = 0; // (the first count is of no tile)
  uint32_t stored = nobody;             // where the last tile's count is (tellsProgress)
  bool storing = false;                 // outputs of the last tile are still leaving the held stages
  CombinedRows<C> combined;             // of this tile, if the config combines

  /// Before the first tile.
  __device__ void begin() const {
    if (!followsProgress<Ring>(args)) // else who finds tiles sees to it that they may be computed
      ptx::waitForPrevious();
  }
  /// After the last one.
  __device__ void end() const {
    if (!ptx::elect()) // the thread that stored
      return;
    if (tellsProgress<Ring>(args)) {
      tellStored();
      ptx::addRelease(args.progress.counts, 1);
    } else {
      ptx::bulkWait(); // before the block, and its shared memory, goes away
    }
  }

  /// Takes part in a tile without any row for this warpgroup.
  __device__ void skip() {
    const uint32_t steps = ring.numSteps(args.k);
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
      if (step == 0)
        finishStore();
      __syncwarp(); // all lanes have seen it full, before it can be filled again
      if (step + Ring::held < steps)
        release(ring.stage);
      ring.next();
    }
  }

  /// Tells the loaders that this warp needs the stage no more.
  __device__ void release(uint32_t stage) const {
    if constexpr (Ring::blocksTogether > 1) {
      if (threadIdx.x % 32 < Ring::blocksTogether)
        ptx::barrierArriveAt(ring.emptyOf(stage), threadIdx.x % 32);
    } else if (threadIdx.x % 32 == 0) {
      ptx::barrierArrive(ring.emptyOf(stage));
    }
  }

  /// Starts the panels' way to device memory: whole boxes by the copy engine, shared out among the warps; what is left
  /// of an expert's last rows (and all of a tile too narrow for the engine's boxes) is copied here.
  __device__ void storeOutputs(const Work &work) {
    constexpr bool byEngine = outputColumns(C) % Ring::panelColumns == 0;
    const uint32_t boxes = byEngine ? work.rows / kOutputBoxRows : 0;
    if (ptx::elect()) {
      tellStored();
      for (uint32_t i = threadIdx.x / 32 - 4; i < boxes * Ring::panels; i += Ring::multipliers / 32) {
        const uint32_t panel = i % Ring::panels, row = i / Ring::panels * kOutputBoxRows;
        if (const uint32_t column = work.firstColumn + panel * Ring::panelColumns; column < args.n)
          ptx::tmaStore2d(outputMap, column, work.firstSlot + row, ring.panel(panel) + row * rowBytes);
      }
      ptx::bulkCommit();
    }
    constexpr uint32_t pieceColumns = 16 / Ring::outputBytes, pieces = outputColumns(C) / pieceColumns; // of a row
    for (uint32_t i = threadIdx.x - 128; i < (work.rows - boxes * kOutputBoxRows) * pieces; i += Ring::multipliers) {
      const uint32_t row = boxes * kOutputBoxRows + i / pieces, piece = i % pieces;
      const uint32_t column = work.firstColumn + piece * pieceColumns;
      if (column >= args.n)
        continue;
      uint32_t values[4];
      ptx::loadShared16(values, ring.panel(piece / 8) + swizzled(row, piece % 8));
      const uint64_t element = uint64_t{work.firstSlot + row} * args.n + column;
      store16(static_cast<uint8_t *>(args.output) + element * Ring::outputBytes, values);
    }
    __syncwarp();
    storing = true;
    if constexpr (Ring::overlaps && Ring::gated)
      stored = progressCount(C.tileTokens, work.expert, work.firstSlot);
  }

  /// Writes the panels' rows where their tokens' outputs are.
  __device__ void writeCombined(const Work &work) const {
    combined.write(args, work,
                   [&](uint32_t row, uint32_t piece) { return ring.panel(piece / 8) + swizzled(row, piece % 8); });
    __syncwarp();
    releaseHeld();
  }

  /// Says that the last tile is written: not before the next one's outputs are stored, when nobody waits for that.
  __device__ void tellStored() const {
    if (tellsProgress<Ring>(args) && stored != nobody)
      tellWritten(args.progress.counts + stored);
  }

  /// In the first step of a tile: gives the stages back that the last tile's outputs have left.
  __device__ void finishStore() {
    if (!storing)
      return;
    if (ptx::elect()) // the thread that stored
      ptx::bulkWaitRead();
    __syncwarp();
    releaseHeld();
    storing = false;
  }
  __device__ void releaseHeld() const {
#pragma unroll
    for (uint32_t i = 1; i <= Ring::held; ++i)
      release(ring.before(i));
  }
};

/// All that a multiplying warpgroup does. `Multiplier` is a Consumer with multiplyTile(work), which leaves a tile's
/// sums in registers, and keepOutputs(work), which writes what becomes of them into the ring's panels.
template <class Multiplier> __device__ void multiplyTiles(Multiplier &&multiplier) {
  multiplier.begin();
  for (Work work = multiplier.queue.take(); work.rows; work = multiplier.queue.take()) {
    work = Multiplier::Ring::own(work);
    multiplier.multiplyTile(work);
    if constexpr (Multiplier::Ring::combines)
      multiplier.combined.find(multiplier.args, work);
    ptx::namedBarrier<1, Multiplier::Ring::multipliers>(); // all have read the held stages
    multiplier.keepOutputs(work);
    ptx::fenceProxyAsync();
    ptx::namedBarrier<1, Multiplier::Ring::multipliers>();
    if constexpr (Multiplier::Ring::combines)
      multiplier.writeCombined(work);
    else
      multiplier.storeOutputs(work);
  }
  multiplier.end();
}

} // namespace moec::tile
