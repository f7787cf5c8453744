// Grouped GEMM for Hopper: one warpgroup loads (weights by TMA, gathered token rows by cp.async), the others multiply
// with wgmma. Blocks are persistent; loads of the next tile run under the epilogue of the last.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Mma.cuh"
#include "compiler/kernels/ptx/Registers.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Bias.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/RowWeights.cuh"
#include "compiler/kernels/tile/Schedule.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"

namespace moec {

/// The ring of stages: each has a barrier that says "full" and one that says "empty".
template <GemmConfig C> struct StageRing {
  static constexpr uint32_t tokenBytes = C.tileTokens * tile::rowBytes;
  static constexpr uint32_t weightBytes = C.tileWeights * tile::rowBytes;
  static constexpr uint32_t loaders = 128; // threads of the loading warpgroup; each arrives when its copies are done

  uint32_t tiles, barriers;
  uint32_t stage = 0, parity = 0;

  __device__ uint32_t tokens() const { return tiles + stage * stageBytes(C); }
  __device__ uint32_t weights() const { return tokens() + tokenBytes; }
  __device__ uint32_t full() const { return barriers + stage * 8; }
  __device__ uint32_t empty() const { return emptyOf(stage); }
  __device__ uint32_t emptyOf(uint32_t which) const { return barriers + (C.stages + which) * 8; }

  __device__ void next() {
    if (++stage == C.stages) {
      stage = 0;
      parity ^= 1;
    }
  }

  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < C.stages; ++i) {
      ptx::barrierInit(barriers + i * 8, loaders + 1); // + 1: whoever issues the TMA and expects its bytes
      ptx::barrierInit(emptyOf(i), C.warpsTokens * 4); // one arrival of each warp that reads the stage
    }
    ptx::fenceBarrierInit();
  }
};

/// What the loading warpgroup does.
template <GemmConfig C> struct HopperLoader {
  static constexpr uint32_t rowStep = 128 / tile::piecesPerRow;
  static constexpr uint32_t tokenLoads = (C.tileTokens + rowStep - 1) / rowStep;
  static constexpr bool gated = C.role == GemmRole::GateUp;

  const GroupedGemmArgs &args;
  const TensorMap *gateMap, *upMap;
  StageRing<C> ring;

  __device__ void run() {
    const tile::WorkOrder order = tile::WorkOrder::of<C>(args);
    for (uint32_t turn = blockIdx.x; turn < order.items; turn += gridDim.x)
      loadTile(tile::findWork<C>(args, order.itemOf(turn)));
    ptx::startNext(); // not before all is under way: what starts earlier takes the place of blocks with work
    drain();
  }

  __device__ void loadTile(const tile::Work &work) {
    const uint32_t piece = threadIdx.x % tile::piecesPerRow, firstRow = threadIdx.x % 128 / tile::piecesPerRow;
    const uint8_t *rows[tokenLoads];
#pragma unroll
    for (uint32_t i = 0; i < tokenLoads; ++i)
      rows[i] = tile::elementAt(args.tokens, tile::sourceRow<C>(args, args.slotPair, work, firstRow + i * rowStep),
                                args.k, piece * 8);

    for (uint32_t k0 = 0; k0 < args.k; k0 += C.tileK) {
      ptx::barrierWait(ring.empty(), ring.parity ^ 1);
      if (threadIdx.x % 128 == 0)
        loadWeights(work, k0);
#pragma unroll
      for (uint32_t i = 0; i < tokenLoads; ++i) {
        const uint32_t row = firstRow + i * rowStep;
        const bool valid = row < work.rows && k0 + piece * 8 < args.k;
        if (C.tileTokens % rowStep == 0 || row < C.tileTokens)
          ptx::cpAsync16(ring.tokens() + tile::swizzled(row, piece), valid ? rows[i] + k0 * 2 : rows[i], valid);
      }
      ptx::cpAsyncArrive(ring.full());
      ring.next();
    }
  }

  __device__ void loadWeights(const tile::Work &work, uint32_t k0) const {
    constexpr uint32_t half = StageRing<C>::weightBytes / 2;
    ptx::barrierArriveExpect(ring.full(), 2 * half);
    ptx::tmaLoad3d(ring.weights(), gateMap, k0, work.firstColumn, work.expert, ring.full());
    if constexpr (gated)
      ptx::tmaLoad3d(ring.weights() + half, upMap, k0, work.firstColumn, work.expert, ring.full());
  }

  /// Copies must have landed before the block, and its shared memory, goes away.
  __device__ void drain() {
    for (uint32_t i = 0; i < C.stages; ++i) {
      ptx::barrierWait(ring.empty(), ring.parity ^ 1);
      ring.next();
    }
  }
};

/// What a multiplying warpgroup does. Plain: it owns 64 token rows and all weight rows of the tile. Swapped: it owns
/// `blocks` times 64 weight rows (gate-up: half gate, half the matching up rows) and all token rows.
template <GemmConfig C, class Activation> struct HopperMultiplier {
  static constexpr bool gated = C.role == GemmRole::GateUp;
  static constexpr uint32_t blocks = C.swapAB ? C.tileWeights / 64 / C.warpsTokens : 1;
  static constexpr uint32_t width = C.swapAB ? C.tileTokens : C.tileWeights; // N of the instruction
  static constexpr uint32_t numSums = width / 2;
  static_assert(C.tileK == 64, "a row of a tile is one 128-byte swizzle span");
  static_assert(C.swapAB ? C.tileWeights % (64 * C.warpsTokens * (gated ? 2 : 1)) == 0
                         : C.tileTokens == 64 * C.warpsTokens && C.tileWeights % (gated ? 64 : 32) == 0,
                "the warpgroups share the tile out evenly");
  static_assert(!C.weighted || (gated && !C.dense), "weights are on what gate and up take in, a pair each");

  const GroupedGemmArgs &args;
  StageRing<C> ring;
  uint32_t group; // this warpgroup among the multiplying ones
  float sums[blocks][numSums];

  __device__ void run() {
    const tile::WorkOrder order = tile::WorkOrder::of<C>(args);
    for (uint32_t turn = blockIdx.x; turn < order.items; turn += gridDim.x) {
      const tile::Work work = tile::findWork<C>(args, order.itemOf(turn));
      if (!C.swapAB && group * 64 >= work.rows) {
        skipTile(); // no valid row among this warpgroup's 64
        continue;
      }
      multiplyTile();
      if constexpr (C.weighted && C.swapAB)
        tile::weighColumns<width>(args, args.slotPair, work, sums);
      else if constexpr (C.weighted)
        weighPlain(work);
      if constexpr (C.biased && C.swapAB)
        addBiasSwapped(work);
      else if constexpr (C.biased)
        addBiasPlain(work);
      if constexpr (C.swapAB)
        storeSwapped(work);
      else
        storePlain(work);
    }
  }

  /// First weight row, in the tile, of this warpgroup's block (swapped).
  __device__ uint32_t blockRow(uint32_t block) const {
    if constexpr (gated) {
      const uint32_t half = block < blocks / 2 ? 0 : C.tileWeights / 2;
      return half + (group * (blocks / 2) + block % (blocks / 2)) * 64;
    } else {
      return (group * blocks + block) * 64;
    }
  }

  __device__ uint32_t numSteps() const { return (args.k + C.tileK - 1) / C.tileK; }

  __device__ void skipTile() {
    for (uint32_t step = 0; step < numSteps(); ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
      __syncwarp(); // a lane that still waited when the stage came round twice would never see its phase
      release(ring.stage);
      ring.next();
    }
  }

  __device__ void multiplyTile() {
    const uint32_t steps = numSteps();
    uint32_t previous = 0;
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
      ptx::fenceProxyAsync(); // the token rows came by cp.async, which is not the proxy that wgmma reads through
      ptx::wgmmaFence();
      issueStage(step != 0);
      ptx::wgmmaCommit();
      if (step != 0) {
        ptx::wgmmaWait<1>(); // the step before is done with its stage
        release(previous);
      }
      previous = ring.stage;
      ring.next();
    }
    ptx::wgmmaWait<0>();
    release(previous);
  }

  __device__ void issueStage(bool accumulate) {
    const uint64_t tokens = ptx::swizzledTile(ring.tokens() + (C.swapAB ? 0 : group * 64 * tile::rowBytes));
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block) {
      uint32_t row = 0;
      if constexpr (C.swapAB)
        row = blockRow(block);
      const uint64_t weights = ptx::swizzledTile(ring.weights() + row * tile::rowBytes);
#pragma unroll
      for (uint32_t k = 0; k < C.tileK; k += 16) {
        const uint64_t a = ptx::advance(C.swapAB ? weights : tokens, k);
        const uint64_t b = ptx::advance(C.swapAB ? tokens : weights, k);
        ptx::Wgmma<C.element, width>::run(sums[block], a, b, accumulate || k != 0);
      }
    }
  }

  /// Tells the loaders that this warp has read the stage.
  __device__ void release(uint32_t stage) const {
    if (threadIdx.x % 32 == 0)
      ptx::barrierArrive(ring.emptyOf(stage));
  }

  /// Sums `i` and `i + 1` as two elements of the output; gate-up: joined with the up sums at `upBlock`, `upIndex`.
  __device__ uint32_t outputPair(uint32_t block, uint32_t i, uint32_t upBlock, uint32_t upIndex) const {
    if constexpr (gated)
      return ptx::Convert<C.element>::pack(Activation::apply(sums[block][i], sums[upBlock][upIndex]),
                                           Activation::apply(sums[block][i + 1], sums[upBlock][upIndex + 1]));
    else
      return ptx::Convert<C.element>::pack(sums[block][i], sums[block][i + 1]);
  }

  __device__ void weighPlain(const tile::Work &work) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
      const float weight = tile::weightAt(args, args.slotPair, work, group * 64 + warp * 16 + half * 8 + lane / 4);
#pragma unroll
      for (uint32_t eight = 0; eight < width / 8; ++eight)
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i)
          sums[0][eight * 4 + half * 2 + i] = __fmul_rn(sums[0][eight * 4 + half * 2 + i], weight);
    }
  }

  __device__ void addBiasPlain(const tile::Work &work) {
    constexpr uint32_t outputBlocks = outputColumns(C) / 8;
#pragma unroll
    for (uint32_t eight = 0; eight < width / 8; ++eight) {
      const float *biases = eight < outputBlocks ? args.bias : args.upBias;
      const uint32_t column = work.firstColumn + eight % outputBlocks * 8 + threadIdx.x % 4 * 2;
#pragma unroll
      for (uint32_t i = 0; i < 2; ++i) {
        const float bias = tile::biasAt(args, biases, work, column + i);
        sums[0][eight * 4 + i] += bias;
        sums[0][eight * 4 + 2 + i] += bias;
      }
    }
  }

  __device__ void addBiasSwapped(const tile::Work &work) {
    constexpr uint32_t outputBlocks = gated ? blocks / 2 : blocks;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block) {
      const float *biases = block < outputBlocks ? args.bias : args.upBias;
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t column = work.firstColumn + blockRow(block % outputBlocks) + warp * 16 + half * 8 + lane / 4;
        const float bias = tile::biasAt(args, biases, work, column);
#pragma unroll
        for (uint32_t eight = 0; eight < width / 8; ++eight) {
          sums[block][eight * 4 + half * 2] += bias;
          sums[block][eight * 4 + half * 2 + 1] += bias;
        }
      }
    }
  }

  __device__ void storePlain(const tile::Work &work) const {
    constexpr uint32_t outputBlocks = outputColumns(C) / 8;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t row = group * 64 + warp * 16 + half * 8 + lane / 4;
#pragma unroll
      for (uint32_t first = 0; first < outputBlocks; first += 4) {
        uint32_t values[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
          const uint32_t sum = (first + i) * 4 + half * 2;
          values[i] = outputPair(0, sum, 0, sum + outputBlocks * 4);
        }
        tile::quadTranspose(values);
        const uint32_t column = work.firstColumn + (first + lane % 4) * 8;
        if (row < work.rows && column < args.n)
          tile::store16(tile::elementAt(args.output, work.firstSlot + row, args.n, column), values);
      }
    }
  }

  __device__ void storeSwapped(const tile::Work &work) const {
    constexpr uint32_t outputBlocks = gated ? blocks / 2 : blocks;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
    for (uint32_t block = 0; block < outputBlocks; ++block)
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t column = work.firstColumn + blockRow(block) + warp * 16 + half * 8 + lane % 4 * 2;
#pragma unroll
        for (uint32_t eight = 0; eight < width / 8; ++eight) {
          const uint32_t sum = eight * 4 + half * 2;
          // Rows are weights and columns tokens here; the output wants it the other way round.
          const uint32_t value = ptx::transpose8x8(outputPair(block, sum, block + outputBlocks, sum));
          const uint32_t row = eight * 8 + lane / 4;
          if (row < work.rows && column < args.n)
            tile::store4(tile::elementAt(args.output, work.firstSlot + row, args.n, column), value);
        }
      }
  }
};

/// As groupedGemmPortable, on Hopper. `gate` and `up` (Down: `gate` alone) map the weights as [E, n, k] with boxes of
/// 64 elements of k by boxRows(C) rows, swizzled by 128 bytes; `args.weights` is not read.
///
/// Launch: any grid, hopperThreads(C) threads, hopperSharedBytes(C).
template <GemmConfig C, class Activation>
__global__ void __launch_bounds__(hopperThreads(C), C.blocksPerSm)
    groupedGemmSm90(const __grid_constant__ TensorMap gate, const __grid_constant__ TensorMap up,
                    const __grid_constant__ GroupedGemmArgs args) {
  extern __shared__ uint8_t unaligned[];
  __shared__ uint64_t barriers[2 * C.stages];
  StageRing<C> ring;
  // Uniform registers (tile/Warp.cuh) cost others: the fullest tile would spill with the dearest activation.
  constexpr bool inUniformRegisters = C.swapAB || C.tileTokens * C.tileWeights < 128 * 256;
  const uint32_t tiles = (ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024;
  ring.tiles = inUniformRegisters ? tile::uniform(tiles) : tiles;
  ring.barriers = ptx::sharedAddress(barriers);
  if (threadIdx.x == 0) {
    ring.init();
    ptx::prefetchTensorMap(&gate);
    if constexpr (C.role == GemmRole::GateUp)
      ptx::prefetchTensorMap(&up);
  }
  __syncthreads();
  ptx::waitForPrevious();

  // Registers follow the work: 65,536 a multiprocessor, 168 a thread at the start with two multiplying warpgroups.
  constexpr bool trade = C.blocksPerSm == 1 && C.warpsTokens == 2;
  const uint32_t warpgroup = inUniformRegisters ? tile::warpgroup() : threadIdx.x / 128;
  if (warpgroup == 0) {
    if constexpr (trade)
      ptx::giveRegisters<40>();
    HopperLoader<C>{args, &gate, &up, ring}.run();
  } else {
    if constexpr (trade)
      ptx::takeRegisters<232>();
    HopperMultiplier<C, Activation>{args, ring, warpgroup - 1}.run();
  }
}

} // namespace moec
