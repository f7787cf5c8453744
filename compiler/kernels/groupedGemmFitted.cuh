// Grouped GEMM for Hopper whose tiles fit the rows that an expert has: weights are on the 64-row side of wgmma, token rows
// on the other, whose width each tile picks. One warpgroup loads, the others own 64 weight rows each; a tile's outputs
// leave through shared memory by the copy engine while the next tile is multiplied.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Registers.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Bias.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec {

/// The ring of stages, each a weight tile and a token tile, with a barrier that says "full" and one that says "empty".
/// At the end of a tile the last stages that it read hold its outputs until they have left; `held` of them.
template <GemmConfig C> struct FittedRing {
  static constexpr bool gated = C.role == GemmRole::GateUp;
  static constexpr uint32_t groups = C.warpsTokens; // multiplying warpgroups
  static constexpr uint32_t multipliers = groups * 128; // threads
  static constexpr uint32_t blocks = C.tileWeights / 64 / groups; // of 64 weight rows, for each of them
  static_assert(C.tileWeights == groups * blocks * 64 && !C.dense);
  // A stage's part of the sum, in pieces as long as a swizzled row: each has its weight rows and its token rows.
  static constexpr uint32_t spans = C.tileK / 64;
  static constexpr uint32_t weightBytes = C.tileWeights * tile::rowBytes, tokenBytes = C.tileTokens * tile::rowBytes;
  static constexpr uint32_t gatherers = gated ? 96 : 0;    // threads that load token rows one by one
  static constexpr uint32_t fillers = gatherers + 1;       // arrivals that fill a stage
  static constexpr uint32_t releases = groups * 4;         // arrivals that empty it: of each warp that reads it
  // Outputs are panels of 64 columns (128 bytes) by all token rows, swizzled as the copy engine wants them.
  static constexpr uint32_t panels = (tile::outputColumns(C) + 63) / 64, panelsPerStage = stageBytes(C) / tokenBytes;
  static constexpr uint32_t held = (panels + panelsPerStage - 1) / panelsPerStage;
  static_assert(C.tileK % 64 == 0 && held < C.stages);

  uint32_t tiles, barriers;
  uint32_t stage = 0, parity = 0;

  __device__ uint32_t at(uint32_t which) const { return tiles + which * stageBytes(C); }
  __device__ uint32_t weights(uint32_t span) const { return at(stage) + span * weightBytes; }
  __device__ uint32_t tokens(uint32_t span) const { return at(stage) + spans * weightBytes + span * tokenBytes; }
  __device__ uint32_t full() const { return barriers + stage * 8; }
  __device__ uint32_t emptyOf(uint32_t which) const { return barriers + (C.stages + which) * 8; }
  __device__ void waitEmpty() const { ptx::barrierWait(emptyOf(stage), parity ^ 1); }

  __device__ void next() {
    if (++stage == C.stages) {
      stage = 0;
      parity ^= 1;
    }
  }
  /// The stage `back` before the present one.
  __device__ uint32_t before(uint32_t back) const { return stage >= back ? stage - back : stage + C.stages - back; }

  /// An output panel, when the present stage is the one after the tile.
  __device__ uint32_t panel(uint32_t index) const {
    return at(before(1 + index / panelsPerStage)) + index % panelsPerStage * tokenBytes;
  }

  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < C.stages; ++i) {
      ptx::barrierInit(barriers + i * 8, fillers);
      ptx::barrierInit(emptyOf(i), releases);
    }
    ptx::fenceBarrierInit();
  }

  /// Steps of a tile: enough for `held` stages.
  static __device__ uint32_t numSteps(uint32_t k) {
    const uint32_t steps = (k + C.tileK - 1) / C.tileK;
    return steps < held ? held : steps;
  }
};

/// Gate-up: three warps that gather the token rows.
template <GemmConfig C> struct FittedGatherer {
  using Ring = FittedRing<C>;
  static constexpr uint32_t rowStep = 96 / tile::piecesPerRow; // 12: every second row is swizzled as the first is
  static constexpr uint32_t tokenLoads = (C.tileTokens + rowStep - 1) / rowStep;

  const GroupedGemmArgs &args;
  Ring ring;
  tile::WorkQueue<C> queue;

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
    uint32_t rows[tokenLoads];
#pragma unroll
    for (uint32_t i = 0; i < tokenLoads; ++i)
      rows[i] = tile::sourceRow<C>(args, work, firstRow + i * rowStep) * (args.k / 8); // in 16 bytes, as k is in eights
    const uint32_t steps = ring.numSteps(args.k);
    const uint32_t even = tile::swizzled(firstRow, piece), odd = tile::swizzled(firstRow + rowStep, piece);
    uint64_t source = reinterpret_cast<uint64_t>(args.tokens) + piece * 16;
    ptx::keepInRegister(source); // else it is fetched as a constant again for each row
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
                           reinterpret_cast<const void *>(from + static_cast<uint64_t>(rows[i]) * 16), valid);
      }
      ptx::cpAsyncArrive(ring.full());
      ring.next();
    }
  }
};

/// One thread that picks the block's tiles and starts all copies by TMA: weights, and down's token rows, which follow each
/// other.
template <GemmConfig C> struct FittedLoader {
  using Ring = FittedRing<C>;
  static constexpr uint32_t boxTokens = tokenBoxRows(C);
  static_assert(C.tileTokens % boxTokens == 0, "boxes stay within their tile");

  const GroupedGemmArgs &args;
  const TensorMap *weightMap, *tokenMap;
  Ring ring;
  tile::WorkQueue<C> queue;

  __device__ void run() {
    tile::WorkFinder<C> finder{args};
    tile::Work work;
    if constexpr (Ring::gated) {
      ptx::waitForPrevious();
      work = finder.first();
    } else {
      work = finder.first();
      prefetchFirst(work);
      ptx::waitForPrevious();
    }
    queue.put(work);
    for (uint32_t begun = Ring::gated ? 0 : prefetchedSteps(); work.rows; begun = 0) {
      finder.restart();
      load(work, finder, begun);
      while (!finder.done())
        finder.advance(queue);
      work = finder.following;
    }
    ptx::startNext(); // not before all is under way: what starts earlier takes the place of blocks with work
  }

  /// Down: begins the first tile with as much of its weights as the ring holds. They and the tile tables do not come from
  /// the kernel before this one, so this need not wait for it (the tables' kernel is done: the one before waited).
  __device__ void prefetchFirst(const tile::Work &work) const {
    FittedLoader ahead = *this;
    for (uint32_t step = 0; work.rows && step < prefetchedSteps(); ++step, ahead.ring.next())
      ahead.beginStage(work, step);
  }
  __device__ uint32_t prefetchedSteps() const {
    const uint32_t steps = ring.numSteps(args.k);
    return steps < C.stages ? steps : C.stages;
  }

  __device__ void load(const tile::Work &work, tile::WorkFinder<C> &finder, uint32_t begun) {
    const uint32_t steps = ring.numSteps(args.k);
    for (uint32_t step = 0; step < steps; ++step) {
      if (step >= begun) {
        ring.waitEmpty();
        beginStage(work, step);
      }
      if constexpr (!Ring::gated)
        loadTokens(work, step);
      if (!finder.done())
        finder.advance(queue); // a piece of looking up the next tile, whose loads are back by the next step
      ring.next();
    }
  }

  static __device__ uint32_t numBoxes(const tile::Work &work) { return (work.rows + boxTokens - 1) / boxTokens; }

  __device__ void beginStage(const tile::Work &work, uint32_t step) const {
    constexpr uint32_t boxBytes = boxTokens * tile::rowBytes;
    ptx::barrierArriveExpect(ring.full(),
                             Ring::spans * (Ring::weightBytes + (Ring::gated ? 0 : numBoxes(work) * boxBytes)));
#pragma unroll
    for (uint32_t span = 0; span < Ring::spans; ++span) {
      const uint32_t k0 = step * C.tileK + span * 64;
      if constexpr (Ring::gated)
        ptx::tmaLoadInterleaved(ring.weights(span), weightMap, k0, work.firstColumn / 8, work.expert, ring.full());
      else
        ptx::tmaLoad3d(ring.weights(span), weightMap, k0, work.firstColumn, work.expert, ring.full());
    }
  }

  __device__ void loadTokens(const tile::Work &work, uint32_t step) const {
#pragma unroll
    for (uint32_t span = 0; span < Ring::spans; ++span)
      for (uint32_t box = 0; box < numBoxes(work); ++box)
        ptx::tmaLoad2d(ring.tokens(span) + box * boxTokens * tile::rowBytes, tokenMap, step * C.tileK + span * 64,
                       work.firstSlot + box * boxTokens, ring.full());
  }
};

/// What a multiplying warpgroup does.
template <GemmConfig C, class Activation> struct FittedMultiplier {
  using Ring = FittedRing<C>;
  static constexpr bool gated = Ring::gated;
  static constexpr uint32_t blocks = Ring::blocks;
  static constexpr uint32_t blockColumns = gated ? 32 : 64; // outputs of 64 weight rows
  static_assert(C.tileTokens % 16 == 0 && C.tileTokens <= 256);

  const GroupedGemmArgs &args;
  const TensorMap *outputMap;
  Ring ring;
  tile::WorkQueue<C> queue;
  uint32_t group; // this warpgroup among the multiplying ones
  bool storing = false; // outputs of the last tile are still leaving the held stages
  float sums[blocks][C.tileTokens / 2];

  __device__ void run() {
    ptx::waitForPrevious();
    for (tile::Work work = queue.take(); work.rows; work = queue.take()) {
      const bool hasWeights = work.firstColumn + group * blocks * blockColumns < args.n;
      multiplyTile(hasWeights ? (work.rows + 15) / 16 : 0);
      ptx::namedBarrier<1, Ring::multipliers>(); // all have read the held stages
      if constexpr (C.biased && gated)
        addBiases(work);
      if (hasWeights)
        keepOutputs(work);
      ptx::fenceProxyAsync();
      ptx::namedBarrier<1, Ring::multipliers>();
      storeOutputs(work);
    }
    if (threadIdx.x % 32 == 0)
      ptx::bulkWait(); // before the block, and its shared memory, goes away
  }

  __device__ void multiplyTile(uint32_t sixteens) {
    switch (sixteens) {
#define MOEC_WIDTH(n)                                                                                                  \
  case n:                                                                                                              \
    if constexpr (n * 16 <= C.tileTokens)                                                                              \
      return multiply<n * 16>();                                                                                       \
    break;
      MOEC_WIDTH(1) MOEC_WIDTH(2) MOEC_WIDTH(3) MOEC_WIDTH(4) MOEC_WIDTH(5) MOEC_WIDTH(6) MOEC_WIDTH(7) MOEC_WIDTH(8)
      MOEC_WIDTH(9) MOEC_WIDTH(10) MOEC_WIDTH(11) MOEC_WIDTH(12) MOEC_WIDTH(13) MOEC_WIDTH(14) MOEC_WIDTH(15)
      MOEC_WIDTH(16)
#undef MOEC_WIDTH
    }
    skip();
  }

  template <uint32_t Width> __device__ void multiply() {
    const uint32_t steps = ring.numSteps(args.k);
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
      if constexpr (gated)
        ptx::fenceProxyAsync(); // token rows came by cp.async, which is not the proxy that wgmma reads through
      ptx::wgmmaFence();
#pragma unroll
      for (uint32_t block = 0; block < blocks; ++block)
#pragma unroll
        for (uint32_t span = 0; span < Ring::spans; ++span) {
          const uint64_t weights =
              ptx::swizzledTile(ring.weights(span) + (group * blocks + block) * 64 * tile::rowBytes);
          const uint64_t tokens = ptx::swizzledTile(ring.tokens(span));
#pragma unroll
          for (uint32_t k = 0; k < 64; k += 16)
            ptx::Wgmma<C.element, Width>::run(sums[block], ptx::advance(weights, k), ptx::advance(tokens, k),
                                              step + span + k != 0);
        }
      ptx::wgmmaCommit();
      if (step == 0) {
        finishStore();
      } else {
        ptx::wgmmaWait<1>(); // the step before is done with its stage
        if (step + Ring::held <= steps)
          release(ring.before(1));
      }
      ring.next();
    }
    ptx::wgmmaWait<0>();
  }

  /// Takes part in a tile without any weight row for this warpgroup.
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
    if (threadIdx.x % 32 == 0)
      ptx::barrierArrive(ring.emptyOf(stage));
  }

  /// Biases of this lane's weight rows in the two halves of its warp's sixteen rows; gate-up: gate's and up's of one column.
  struct Biases {
    float of[2];
  };

  __device__ Biases biasesOf(const tile::Work &work, uint32_t block) const {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    const uint32_t column =
        work.firstColumn + (group * blocks + block) * blockColumns + warp * (gated ? 8 : 16) + lane / 4;
    if constexpr (gated)
      return {tile::biasAt(args, args.bias, work, column), tile::biasAt(args, args.upBias, work, column)};
    else
      return {tile::biasAt(args, args.bias, work, column), tile::biasAt(args, args.bias, work, column + 8)};
  }

  /// Gate-up: into the sums, for the activation needs the registers that biases would stay in. Down has them to spare, and
  /// there ptxas would serialise the wgmma whose accumulators are written here.
  __device__ void addBiases(const tile::Work &work) {
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block) {
      const Biases biases = biasesOf(work, block);
#pragma unroll
      for (uint32_t i = 0; i < C.tileTokens / 2; ++i) {
        if (i % 4 == 0 && i * 2 >= work.rows)
          break;
        sums[block][i] += biases.of[i / 2 % 2];
      }
    }
  }

  /// Writes the outputs into their panels.
  __device__ void keepOutputs(const tile::Work &work) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    // An instruction stores 8x8 matrices: 16 token rows of eight columns; down: of sixteen. (Gate-up's could store 32 rows
    // at a time; the registers for that are what the dearest activations need.)
    constexpr uint32_t step = 16;
    const uint32_t lanesRow = gated ? lane % 16 : lane / 16 * 8 + lane % 8;
    const uint32_t warpPiece = gated ? warp : warp * 2 + lane / 8 % 2;
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block) {
      const uint32_t piece = (group * blocks + block) * (blockColumns / 8) + warpPiece;
      const uint32_t panel = ring.panel(piece / 8) + tile::swizzled(lanesRow, piece % 8);
      Biases biases{};
      if constexpr (C.biased && !gated)
        biases = biasesOf(work, block);
#pragma unroll
      for (uint32_t first = 0; first < C.tileTokens; first += step) {
        if (first >= work.rows)
          break;
        uint32_t packed[4];
#pragma unroll
        for (uint32_t i = 0; i < (gated ? 2 : 4); ++i)
          packed[i] = outputPair(block, first / 2 + i * (gated ? 4 : 2), biases);
        if constexpr (gated)
          ptx::storeTransposed2(panel + first * tile::rowBytes, packed[0], packed[1]);
        else
          ptx::storeTransposed4(panel + first * tile::rowBytes, packed[0], packed[1], packed[2], packed[3]);
      }
    }
  }

  /// Two token rows of one output column. Gate-up: its gate sums are at `at`, its up sums, eight weight rows on, behind.
  __device__ uint32_t outputPair(uint32_t block, uint32_t at, const Biases &biases) const {
    const float *from = &sums[block][at];
    if constexpr (gated) {
      return ptx::Convert<C.element>::pack(Activation::apply(from[0], from[2]), Activation::apply(from[1], from[3]));
    } else if constexpr (C.biased) {
      const float bias = biases.of[at / 2 % 2];
      return ptx::Convert<C.element>::pack(from[0] + bias, from[1] + bias);
    } else {
      return ptx::Convert<C.element>::pack(from[0], from[1]);
    }
  }

  /// Starts the panels' way to device memory: whole boxes by the copy engine, shared out among the warps; what is left of
  /// an expert's last rows (and all of a tile too narrow for the engine's boxes) is copied here.
  __device__ void storeOutputs(const tile::Work &work) {
    constexpr bool byEngine = tile::outputColumns(C) % 64 == 0;
    const uint32_t boxes = byEngine ? work.rows / kOutputBoxRows : 0;
    if (threadIdx.x % 32 == 0) {
      for (uint32_t i = threadIdx.x / 32 - 4; i < boxes * Ring::panels; i += Ring::multipliers / 32) {
        const uint32_t panel = i % Ring::panels, row = i / Ring::panels * kOutputBoxRows;
        if (work.firstColumn + panel * 64 < args.n)
          ptx::tmaStore2d(outputMap, work.firstColumn + panel * 64, work.firstSlot + row,
                          ring.panel(panel) + row * tile::rowBytes);
      }
      ptx::bulkCommit();
    }
    constexpr uint32_t pieces = tile::outputColumns(C) / 8; // of a row
    for (uint32_t i = threadIdx.x - 128; i < (work.rows - boxes * kOutputBoxRows) * pieces; i += Ring::multipliers) {
      const uint32_t row = boxes * kOutputBoxRows + i / pieces, piece = i % pieces;
      if (work.firstColumn + piece * 8 >= args.n)
        continue;
      uint32_t values[4];
      ptx::loadShared16(values, ring.panel(piece / 8) + tile::swizzled(row, piece % 8));
      tile::store16(tile::elementAt(args.output, work.firstSlot + row, args.n, work.firstColumn + piece * 8), values);
    }
    __syncwarp();
    storing = true;
  }

  /// In the first step of a tile: gives the stages back that the last tile's outputs have left.
  __device__ void finishStore() {
    if (!storing)
      return;
    if (threadIdx.x % 32 == 0) {
      ptx::bulkWaitRead();
#pragma unroll
      for (uint32_t i = 1; i <= Ring::held; ++i)
        ptx::barrierArrive(ring.emptyOf(ring.before(i)));
    }
    storing = false;
  }
};

/// As groupedGemmPortable, on Hopper. `weights` maps gate and up rows interleaved by eight as (64 elements of k, 8 rows,
/// 2, tileWeights / 16 groups, 1 expert); down: [E, n, k] in boxes of 64 elements of k by tileWeights rows. `tokens`
/// (down alone) maps args.tokens as [numSlots, k] in boxes of 64 elements by tokenBoxRows(C) rows, `output` args.output in
/// boxes of 64 columns by kOutputBoxRows rows. All are swizzled by 128 bytes; `args.weights` and `args.upWeights` are not read.
///
/// Launch: any grid, hopperThreads(C) threads, hopperSharedBytes(C).
template <GemmConfig C, class Activation>
__global__ void __launch_bounds__(hopperThreads(C), C.blocksPerSm)
groupedGemmFitted(const __grid_constant__ TensorMap weights, const __grid_constant__ TensorMap tokens,
                  const __grid_constant__ TensorMap output, const __grid_constant__ GroupedGemmArgs args) {
  extern __shared__ uint8_t unaligned[];
  __shared__ __align__(8) uint64_t barriers[2 * C.stages];
  __shared__ __align__(16) tile::SharedWork<C> sharedWork;
  tile::WorkQueue<C> queue{&sharedWork};
  FittedRing<C> ring;
  ring.tiles = (ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024;
  ring.barriers = ptx::sharedAddress(barriers);
  if (threadIdx.x == 0) {
    ring.init();
    queue.init();
    ptx::prefetchTensorMap(&weights);
    ptx::prefetchTensorMap(&output);
    if constexpr (C.role == GemmRole::Down)
      ptx::prefetchTensorMap(&tokens);
  }
  __syncthreads();

  // Registers follow the work. What the block may share out is what it started with, 3 * 168; asking for more waits forever.
  constexpr bool trade = FittedRing<C>::groups == 2;
  static_assert(56 + 2 * 224 <= 3 * 168);
  if (threadIdx.x < 128) {
    if constexpr (trade)
      ptx::giveRegisters<56>();
    if (threadIdx.x == 0)
      FittedLoader<C>{args, &weights, &tokens, ring, queue}.run();
    else if (C.role == GemmRole::GateUp && threadIdx.x >= 32)
      FittedGatherer<C>{args, ring, queue}.run();
  } else {
    if constexpr (trade)
      ptx::takeRegisters<224>();
    FittedMultiplier<C, Activation>{args, &output, ring, queue, threadIdx.x / 128 - 1}.run();
  }
}

} // namespace moec
