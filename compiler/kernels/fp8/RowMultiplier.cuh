// What a multiplying warpgroup of groupedGemmFp8 does for many rows an expert.
#pragma once

#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Consumer.cuh"

namespace moec {

/// Token rows are on the 64-row side: of 128 products that a thread has, 64 share a token's scale and all those of
/// gate, or of up, a weights' scale, so that adding them up costs one operation each. On the other side it costs two
/// and a load, which the tensor cores wait for (docs/performance-log.md).
template <GemmConfig C, class Activation> struct Fp8RowMultiplier : tile::Consumer<C, Fp8Ring<C>> {
  using Ring = Fp8Ring<C>;
  using Base = tile::Consumer<C, Ring>;
  using Base::args, Base::ring, Base::group;
  static constexpr bool gated = Ring::gated;
  static constexpr uint32_t blocks = Ring::blocks, groups = Ring::groups, width = C.tileWeights;
  static_assert(!C.swapAB && width == kFp8Block, "one scale of weights, or one of gate and one of up, for a tile");
  float sums[blocks][width / 2];

  /// Blocks of 64 rows go to the warpgroups in turn, so that few rows are shared out as well.
  __device__ uint32_t firstRow(uint32_t block) const { return (block * groups + group) * 64; }

  __device__ void multiplyTile(const tile::Work &work) {
    if (blocks > 1 && firstRow(blocks - 1) < work.rows)
      multiply<blocks>();
    else if (firstRow(0) < work.rows)
      multiply<1>();
    else
      Base::skip();
  }

  template <uint32_t Blocks> __device__ void multiply() {
    static_assert(Blocks == 1 || Blocks == blocks);
#pragma unroll
    for (uint32_t block = 0; block < Blocks; ++block)
#pragma unroll
      for (uint32_t i = 0; i < width / 2; ++i)
        sums[block][i] = 0;
    float products[width / 2];
    const uint32_t steps = ring.numSteps(args.k);
    ptx::barrierWait(ring.full(), ring.parity);
    Scales scales = readScales(ring, 0, 0);
    for (uint32_t step = 0; step < steps; ++step) {
      Ring ahead = ring;
      ahead.next();
#pragma unroll
      for (uint32_t unit = 0; unit < Ring::spans * Blocks; ++unit) {
        startProducts(unit / Blocks, unit % Blocks, products);
        if (unit == 0 && step == 0)
          Base::finishStore();
        // All that the next unit wants is made ready in the shadow of this one's products: what stands between two
        // units keeps the tensor cores waiting.
        constexpr uint32_t units = Ring::spans * Blocks;
        Scales following = scales;
        if (unit + 1 < units) {
          following = readScales(ring, (unit + 1) / Blocks, (unit + 1) % Blocks);
        } else if (step + 1 < steps) {
          ptx::barrierWait(ahead.full(), ahead.parity);
          following = readScales(ahead, 0, 0);
        }
        ptx::wgmmaWait<0>(); // the other warpgroup multiplies while this one adds
        if (unit + 1 == units) {
          __syncwarp(); // all lanes have read the scales
          if (step + Ring::held < steps)
            Base::release(ring.stage);
        }
        addProducts(unit % Blocks, scales, products);
        scales = following;
      }
      ring = ahead;
    }
  }

  /// Of 64 token rows over one block of the scales (Fp8Products::multiplyUnit).
  __device__ void startProducts(uint32_t span, uint32_t block, float (&products)[width / 2]) const {
    const uint64_t tokens = ring.tokenTile(span, firstRow(block)), weights = ring.weightTile(span, 0);
    ptx::wgmmaFence();
#pragma unroll
    for (uint32_t k = 0; k < kFp8Block; k += 32)
      ptx::WgmmaE4M3<width>::run(products, ptx::advanceBytes(tokens, k), ptx::advanceBytes(weights, k), k != 0);
    ptx::wgmmaCommit();
  }

  /// What a lane's products are multiplied by: it has two token rows.
  struct Scales {
    float gate[2], up[2];
  };

  /// Read before the products begin, so that nothing but the additions stands between these and the next ones.
  __device__ Scales readScales(const Ring &ring, uint32_t span, uint32_t block) const {
    const uint32_t row = firstRow(block) + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    const float2 ofWeights = ptx::loadShared8(ring.weightScales(span));
    const float first = ptx::loadShared4(ring.scales(span) + row * 4),
                second = ptx::loadShared4(ring.scales(span) + row * 4 + 32);
    return {{first * ofWeights.x, second * ofWeights.x}, {first * ofWeights.y, second * ofWeights.y}};
  }

  /// Adds the products, times their scales, to the sums. Of a lane's columns eight are gate's, the next eight up's.
  __device__ void addProducts(uint32_t block, const Scales &scales, const float (&products)[width / 2]) {
#pragma unroll
    for (uint32_t i = 0; i < width / 2; ++i)
      sums[block][i] += products[i] * (gated && i / 4 % 2 ? scales.up : scales.gate)[i / 2 % 2];
  }

  /// Writes the outputs into their panels, two columns of a row at a time; rows and pieces of the swizzle fall into
  /// different banks.
  __device__ void keepOutputs(const tile::Work &work) const {
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block) {
      if (firstRow(block) >= work.rows)
        break;
      const uint32_t row = firstRow(block) + threadIdx.x / 32 % 4 * 16 + lane / 4;
#pragma unroll
      for (uint32_t piece = 0; piece < tile::outputColumns(C) / 8; ++piece)
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half)
          ptx::storeShared4(ring.panel(piece / 8) + tile::swizzled(row + half * 8, piece % 8) + lane % 4 * 4,
                            outputPair(&sums[block][piece * (gated ? 8 : 4) + half * 2]));
    }
  }

  static __device__ uint32_t outputPair(const float *from) {
    if constexpr (gated)
      return ptx::Convert<C.element>::pack(Activation::apply(from[0], from[4]), Activation::apply(from[1], from[5]));
    else
      return ptx::Convert<C.element>::pack(from[0], from[1]);
  }
};

} // namespace moec
