// What a multiplying warpgroup of groupedGemmFp8 multiplies for few rows an expert.
#pragma once

#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Consumer.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"

namespace moec {

/// The sums of a tile, for SwappedMultiplier.
template <GemmConfig C> struct Fp8Products : tile::Consumer<C, Fp8Ring<C>> {
  using Ring = Fp8Ring<C>;
  using Base = tile::Consumer<C, Ring>;
  using Base::args, Base::ring, Base::group;
  static constexpr bool gated = Ring::gated;
  static constexpr uint32_t blocks = Ring::blocks;
  static_assert(C.tileTokens <= 192);

  float sums[blocks][C.tileTokens / 2];

  /// Products of 64 weight rows over one block of the scales make a unit; so many are in a stage.
  static constexpr uint32_t units = Ring::spans * blocks;
  /// Where registers allow it a stage's next unit is multiplied while one is added up; else the other
  /// warpgroup multiplies meanwhile. (Not from stage to stage: ptxas then serialises all of them.)
  static constexpr uint32_t ahead = units > 1 && (blocks + 2) * C.tileTokens / 2 <= 192 ? 1 : 0;

  template <uint32_t Width> __device__ void multiply() {
    clearSums<Width>();
    float products[ahead + 1][Width / 2]; // shared by all widths, ptxas would serialise them
    const uint32_t steps = ring.numSteps(args.k);
    ptx::barrierWait(ring.full(), ring.parity);
    for (uint32_t step = 0; step < steps; ++step) {
      Ring next = ring;
      next.next();
#pragma unroll
      for (uint32_t unit = 0; unit < units; ++unit) {
        multiplyUnit<Width>(unit, products[unit % (ahead + 1)]);
        if (unit == 0 && step == 0)
          Base::finishStore();
        if (unit + 1 == units && step + 1 < steps)
          ptx::barrierWait(next.full(), next.parity); // in the shadow of these products, not before the next ones
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
      ring = next;
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
    const uint64_t weights = ring.weightTile(span, (group * blocks + block) * 64), tokens = ring.tokenTile(span, 0);
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
};

} // namespace moec
