// What a multiplying warpgroup of groupedGemmFp8 does for few rows an expert.
#pragma once

#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Consumer.cuh"

namespace moec {

/// Weights are on the 64-row side: the tile is as wide as its token rows.
template <GemmConfig C, class Activation> struct Fp8Multiplier : tile::Consumer<C, Fp8Ring<C>> {
  using Ring = Fp8Ring<C>;
  using Base = tile::Consumer<C, Ring>;
  using Base::args, Base::ring, Base::queue, Base::group;
  static constexpr bool gated = Ring::gated;
  static constexpr uint32_t blocks = Ring::blocks;
  static constexpr uint32_t blockColumns = gated ? 32 : 64; // outputs of 64 weight rows
  static_assert(C.swapAB && C.tileTokens % 16 == 0 && C.tileTokens <= 192);

  float sums[blocks][C.tileTokens / 2];

  __device__ void run() {
    ptx::waitForPrevious();
    for (tile::Work work = queue.take(); work.rows; work = queue.take()) {
      const bool hasWeights = work.firstColumn + group * blocks * blockColumns < args.n;
      multiplyTile(hasWeights ? (work.rows + 15) / 16 : 0);
      ptx::namedBarrier<1, Ring::multipliers>(); // all have read the held stages
      if (hasWeights)
        keepOutputs(work);
      ptx::fenceProxyAsync();
      ptx::namedBarrier<1, Ring::multipliers>();
      Base::storeOutputs(work);
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
      MOEC_WIDTH(1)
      MOEC_WIDTH(2)
      MOEC_WIDTH(3) MOEC_WIDTH(4) MOEC_WIDTH(5) MOEC_WIDTH(6) MOEC_WIDTH(7) MOEC_WIDTH(8) MOEC_WIDTH(9) MOEC_WIDTH(10)
          MOEC_WIDTH(11) MOEC_WIDTH(12)
#undef MOEC_WIDTH
    }
    Base::skip();
  }

  /// Products of 64 weight rows over one block of the scales make a unit; so many are in a stage.
  static constexpr uint32_t units = Ring::spans * blocks;
  /// Where registers allow it a stage's next unit is multiplied while one is added up; else the other
  /// warpgroup multiplies meanwhile. (Not from stage to stage: ptxas then serialises all of them.)
  static constexpr uint32_t ahead = units > 1 && (blocks + 2) * C.tileTokens / 2 <= 192 ? 1 : 0;

  template <uint32_t Width> __device__ void multiply() {
    clearSums<Width>();
    float products[ahead + 1][Width / 2]; // shared by all widths, ptxas would serialise them
    const uint32_t steps = ring.numSteps(args.k);
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
#pragma unroll
      for (uint32_t unit = 0; unit < units; ++unit) {
        multiplyUnit<Width>(unit, products[unit % (ahead + 1)]);
        if (unit == 0 && step == 0)
          Base::finishStore();
        if (unit >= ahead) {
          ptx::wgmmaWait<ahead>();
          addProducts<Width>(unit - ahead, products[(unit - ahead) % (ahead + 1)]);
        }
      }
      if constexpr (ahead > 0) {
        ptx::wgmmaWait<0>();
        addProducts<Width>(units - 1, products[(units - 1) % 2]);
      }
      __syncwarp(); // all lanes have read the scales
      if (step + Ring::held < steps)
        Base::release(ring.stage);
      ring.next();
    }
  }

  template <uint32_t Width> __device__ void clearSums() {
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block)
#pragma unroll
      for (uint32_t i = 0; i < Width / 2; ++i)
        sums[block][i] = 0;
  }

  /// Starts the products of a unit. Their sum starts anew: the tensor cores keep only some 14 bits of
  /// it, which a longer chain would lose more and more of.
  template <uint32_t Width> __device__ void multiplyUnit(uint32_t unit, float (&products)[Width / 2]) {
    const uint32_t span = unit / blocks, block = unit % blocks;
    const uint64_t weights = ptx::swizzledTile(ring.weights(span) + (group * blocks + block) * 64 * tile::rowBytes);
    const uint64_t tokens = ptx::swizzledTile(ring.tokens(span));
    ptx::wgmmaFence();
#pragma unroll
    for (uint32_t k = 0; k < kFp8Block; k += 32)
      ptx::WgmmaE4M3<Width>::run(products, ptx::advanceBytes(weights, k), ptx::advanceBytes(tokens, k), k != 0);
    ptx::wgmmaCommit();
  }

  /// Adds the products, times their scales, to the sums. A lane has two token rows of each eight;
  /// its first weight row is gate's and its second up's.
  template <uint32_t Width> __device__ void addProducts(uint32_t unit, const float (&products)[Width / 2]) {
    const uint32_t span = unit / blocks, block = unit % blocks;
    const float2 weightScales = ptx::loadShared8(ring.weightScales(span));
    const uint32_t scales = ring.scales(span) + threadIdx.x % 4 * 8;
    const float ofRows = (group * blocks + block) * 64 < kFp8Block ? weightScales.x : weightScales.y;
    const float first = gated ? weightScales.x : ofRows, second = gated ? weightScales.y : ofRows;
#pragma unroll
    for (uint32_t i = 0; i < Width / 2; i += 4) {
      const float2 tokenScales = ptx::loadShared8(scales + i * 8);
      sums[block][i] += products[i] * (tokenScales.x * first);
      sums[block][i + 1] += products[i + 1] * (tokenScales.y * first);
      sums[block][i + 2] += products[i + 2] * (tokenScales.x * second);
      sums[block][i + 3] += products[i + 3] * (tokenScales.y * second);
    }
  }

  /// Writes the outputs into their panels.
  __device__ void keepOutputs(const tile::Work &work) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    // An instruction stores 8x8 matrices: 16 token rows of eight columns; down: of sixteen.
    constexpr uint32_t step = 16;
    const uint32_t lanesRow = gated ? lane % 16 : lane / 16 * 8 + lane % 8;
    const uint32_t warpPiece = gated ? warp : warp * 2 + lane / 8 % 2;
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block) {
      const uint32_t piece = (group * blocks + block) * (blockColumns / 8) + warpPiece;
      const uint32_t panel = ring.panel(piece / 8) + tile::swizzled(lanesRow, piece % 8);
#pragma unroll
      for (uint32_t first = 0; first < C.tileTokens; first += step) {
        if (first >= work.rows)
          break;
        uint32_t packed[4];
#pragma unroll
        for (uint32_t i = 0; i < (gated ? 2 : 4); ++i)
          packed[i] = outputPair(&sums[block][first / 2 + i * (gated ? 4 : 2)]);
        if constexpr (gated)
          ptx::storeTransposed2(panel + first * tile::rowBytes, packed[0], packed[1]);
        else
          ptx::storeTransposed4(panel + first * tile::rowBytes, packed[0], packed[1], packed[2], packed[3]);
      }
    }
  }

  /// Two token rows of one output column. Gate-up: the up sums, eight weight rows on, are behind
  /// the gate sums.
  static __device__ uint32_t outputPair(const float *from) {
    if constexpr (gated)
      return ptx::Convert<C.element>::pack(Activation::apply(from[0], from[2]), Activation::apply(from[1], from[3]));
    else
      return ptx::Convert<C.element>::pack(from[0], from[1]);
  }
};

} // namespace moec
