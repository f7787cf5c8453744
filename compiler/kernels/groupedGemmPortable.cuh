// Grouped GEMM with mma.sync and cp.async: every GPU from sm_80 on.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Mma.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Bias.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/RowWeights.cuh"
#include "compiler/kernels/tile/Schedule.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"

namespace moec {

/// One block's view of the tiles in shared memory and of its part of the products.
template <GemmConfig C, class Activation> struct PortableTile {
  static_assert(!C.swapAB, "that is the Hopper family's");
  static_assert(C.tileK == 64, "a row of a tile is one 128-byte swizzle span");
  static constexpr uint32_t threads = portableThreads(C);
  static constexpr uint32_t warpTokens = C.tileTokens / C.warpsTokens;
  static constexpr uint32_t warpWeights = C.tileWeights / C.warpsWeights;
  static constexpr uint32_t rowBlocks = warpTokens / 16;
  static constexpr uint32_t columnBlocks = warpWeights / 8;
  static constexpr bool gated = C.role == GemmRole::GateUp;
  static constexpr uint32_t outputBlocks = gated ? columnBlocks / 2 : columnBlocks;
  static constexpr uint32_t tokenBytes = C.tileTokens * tile::rowBytes;
  static constexpr uint32_t tokenLoads = (C.tileTokens * tile::piecesPerRow + threads - 1) / threads;
  static constexpr uint32_t weightLoads = C.tileWeights * tile::piecesPerRow / threads;
  static_assert(warpTokens % 16 == 0 && warpWeights % (gated ? 32 : 16) == 0, "whole ldmatrix blocks per warp");
  static_assert(C.tileWeights * tile::piecesPerRow % threads == 0, "whole weight loads per thread");
  static_assert(threads % tile::piecesPerRow == 0, "a thread copies the same piece of all its rows");
  static_assert(!C.weighted || (gated && !C.dense), "weights are on what gate and up take in, a pair each");

  const GroupedGemmArgs &args;
  uint32_t shared;
  tile::Work work;
  // What this thread copies: one 16-byte piece of some rows; a null row is zeros.
  uint32_t piece, firstRow;
  const uint8_t *tokenRow[tokenLoads];
  const uint8_t *weightRow[weightLoads];
  float sums[rowBlocks][columnBlocks][4];

  __device__ PortableTile(const GroupedGemmArgs &args, uint32_t shared)
      : args(args), shared(shared), piece(threadIdx.x % tile::piecesPerRow),
        firstRow(threadIdx.x / tile::piecesPerRow) {}

  __device__ void begin(const tile::Work &next) {
    work = next;
    constexpr uint32_t rowStep = threads / tile::piecesPerRow;
#pragma unroll
    for (uint32_t i = 0; i < tokenLoads; ++i) {
      const uint32_t row = firstRow + i * rowStep;
      tokenRow[i] = row < work.rows ? tile::elementAt(args.tokens, tile::sourceRow<C>(args, args.slotPair, work, row),
                                                      args.k, piece * 8)
                                    : nullptr;
    }
#pragma unroll
    for (uint32_t i = 0; i < weightLoads; ++i)
      weightRow[i] = weightPointer(firstRow + i * rowStep);
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
      for (uint32_t n = 0; n < columnBlocks; ++n)
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i)
          sums[m][n][i] = 0;
  }

  __device__ const uint8_t *weightPointer(uint32_t row) const {
    const bool isUp = gated && row >= C.tileWeights / 2;
    const uint32_t column = work.firstColumn + (isUp ? row - C.tileWeights / 2 : row);
    if (column >= args.n)
      return nullptr;
    const void *weights = isUp ? args.upWeights : args.weights;
    const uint64_t first = static_cast<uint64_t>(work.expert) * args.expertStride + piece * 8;
    return static_cast<const uint8_t *>(weights) + (first + static_cast<uint64_t>(column) * args.k) * 2;
  }

  /// Starts copying elements `k0 .. k0 + 63` of the sum into a stage.
  __device__ void load(uint32_t stage, uint32_t k0) {
    constexpr uint32_t rowStep = threads / tile::piecesPerRow;
    const bool inSum = k0 + piece * 8 < args.k;
    const uint32_t tokens = shared + stage * stageBytes(C), weights = tokens + tokenBytes;
#pragma unroll
    for (uint32_t i = 0; i < tokenLoads; ++i) {
      const uint32_t row = firstRow + i * rowStep;
      if (C.tileTokens % rowStep == 0 || row < C.tileTokens)
        copy(tokens + tile::swizzled(row, piece), tokenRow[i], k0, inSum, args.tokens);
    }
#pragma unroll
    for (uint32_t i = 0; i < weightLoads; ++i)
      copy(weights + tile::swizzled(firstRow + i * rowStep, piece), weightRow[i], k0, inSum, args.weights);
  }

  /// A copy of zeros still names an address; it names one that exists.
  static __device__ void copy(uint32_t to, const uint8_t *row, uint32_t k0, bool inSum, const void *somewhere) {
    const bool valid = inSum && row != nullptr;
    ptx::cpAsync16(to, valid ? row + k0 * 2 : somewhere, valid);
  }

  /// The tile row of this warp's column block: gate blocks first, then their up blocks.
  static __device__ uint32_t weightTileRow(uint32_t warp, uint32_t block) {
    if constexpr (gated) {
      const uint32_t half = block < outputBlocks ? 0 : C.tileWeights / 2;
      return half + warp * (warpWeights / 2) + block % outputBlocks * 8;
    } else {
      return warp * warpWeights + block * 8;
    }
  }

  __device__ uint32_t warpAlongTokens() const { return threadIdx.x / 32 / C.warpsWeights; }
  __device__ uint32_t warpAlongWeights() const { return threadIdx.x / 32 % C.warpsWeights; }

  /// Adds one stage's products to the sums.
  __device__ void multiply(uint32_t stage) {
    const uint32_t tokens = shared + stage * stageBytes(C), weights = tokens + tokenBytes;
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t tokenRowInTile = warpAlongTokens() * warpTokens + lane % 16;
    const uint32_t weightLaneRow = lane % 8 + lane / 16 * 8;
#pragma unroll
    for (uint32_t step = 0; step < C.tileK / 16; ++step) {
      uint32_t a[rowBlocks][4];
#pragma unroll
      for (uint32_t m = 0; m < rowBlocks; ++m)
        ptx::ldmatrix4(a[m], tokens + tile::swizzled(tokenRowInTile + m * 16, step * 2 + lane / 16));
#pragma unroll
      for (uint32_t n = 0; n < columnBlocks; n += 2) {
        uint32_t b[4];
        const uint32_t row = weightTileRow(warpAlongWeights(), n) + weightLaneRow;
        ptx::ldmatrix4(b, weights + tile::swizzled(row, step * 2 + lane / 8 % 2));
#pragma unroll
        for (uint32_t m = 0; m < rowBlocks; ++m) {
          ptx::Mma<C.element>::run(sums[m][n], a[m], b[0], b[1]);
          ptx::Mma<C.element>::run(sums[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  /// Two neighbouring columns of the output, packed.
  __device__ uint32_t outputPair(uint32_t m, uint32_t block, uint32_t half) const {
    const float *sum = sums[m][block];
    if constexpr (gated) {
      const float *up = sums[m][block + outputBlocks];
      return ptx::Convert<C.element>::pack(Activation::apply(sum[half * 2], up[half * 2]),
                                           Activation::apply(sum[half * 2 + 1], up[half * 2 + 1]));
    } else {
      return ptx::Convert<C.element>::pack(sum[half * 2], sum[half * 2 + 1]);
    }
  }

  /// Before addBias(), where the config is weighted.
  __device__ void weighRows() {
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        const float weight =
            tile::weightAt(args, args.slotPair, work, warpAlongTokens() * warpTokens + m * 16 + half * 8 + lane / 4);
#pragma unroll
        for (uint32_t block = 0; block < columnBlocks; ++block) {
          sums[m][block][half * 2] = __fmul_rn(sums[m][block][half * 2], weight);
          sums[m][block][half * 2 + 1] = __fmul_rn(sums[m][block][half * 2 + 1], weight);
        }
      }
  }

  /// Before store(), where the config is biased.
  __device__ void addBias() {
    const uint32_t warpColumn = work.firstColumn + warpAlongWeights() * outputBlocks * 8 + threadIdx.x % 4 * 2;
#pragma unroll
    for (uint32_t block = 0; block < columnBlocks; ++block) {
      const float *biases = block < outputBlocks ? args.bias : args.upBias;
#pragma unroll
      for (uint32_t i = 0; i < 2; ++i) {
        const float bias = tile::biasAt(args, biases, work, warpColumn + block % outputBlocks * 8 + i);
#pragma unroll
        for (uint32_t m = 0; m < rowBlocks; ++m) {
          sums[m][block][i] += bias;
          sums[m][block][2 + i] += bias;
        }
      }
    }
  }

  __device__ void store() const {
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t warpColumn = warpAlongWeights() * outputBlocks * 8;
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t row = warpAlongTokens() * warpTokens + m * 16 + half * 8 + lane / 4;
        if (row >= work.rows)
          continue;
#pragma unroll
        for (uint32_t block = 0; block < outputBlocks; ++block) {
          const uint32_t column = work.firstColumn + warpColumn + block * 8 + lane % 4 * 2;
          if (column < args.n)
            tile::store4(tile::elementAt(args.output, work.firstSlot + row, args.n, column),
                         outputPair(m, block, half));
        }
      }
  }
};

/// output[slot] = activation(gate x, up x) (GateUp) or down x (Down), x the slot's token row; each product times its
/// pair's weight where C is weighted, plus its bias where C is biased.
///
/// Launch: any grid (multiprocessors x blocks that fit suits), portableThreads(C) threads, portableSharedBytes(C).
/// Sums run over k in ascending order whatever the tile's shape.
template <GemmConfig C, class Activation>
__global__ void __launch_bounds__(portableThreads(C), C.blocksPerSm)
    groupedGemmPortable(const __grid_constant__ GroupedGemmArgs args) {
  extern __shared__ __align__(128) uint8_t stages[];
  PortableTile<C, Activation> tile(args, ptx::sharedAddress(stages));
  ptx::waitForPrevious();
  const uint32_t steps = (args.k + C.tileK - 1) / C.tileK;
  const tile::WorkOrder order = tile::WorkOrder::of<C>(args);

  for (uint32_t turn = blockIdx.x; turn < order.items; turn += gridDim.x) {
    tile.begin(tile::findWork<C>(args, order.itemOf(turn)));
    for (uint32_t step = 0; step + 1 < C.stages; ++step) {
      if (step < steps)
        tile.load(step, step * C.tileK);
      ptx::cpAsyncCommit();
    }
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::cpAsyncWait<C.stages - 2>();
      __syncthreads(); // this stage has arrived for all, and all are done with the one that is loaded next
      const uint32_t ahead = step + C.stages - 1;
      if (ahead < steps)
        tile.load(ahead % C.stages, ahead * C.tileK);
      ptx::cpAsyncCommit();
      tile.multiply(step % C.stages);
    }
    if constexpr (C.weighted)
      tile.weighRows();
    if constexpr (C.biased)
      tile.addBias();
    tile.store();
    __syncthreads(); // the next tile's loads overwrite stages that a slower warp may still read
  }
}

} // namespace moec
