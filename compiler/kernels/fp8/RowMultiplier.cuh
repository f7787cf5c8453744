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
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
#pragma unroll
      for (uint32_t span = 0; span < Ring::spans; ++span)
#pragma unroll
        for (uint32_t block = 0; block < Blocks; ++block) {
          startProducts(span, block, products);
          if (step + span + block == 0)
            Base::finishStore();
          ptx::wgmmaWait<0>(); // the other warpgroup multiplies while this one adds
          addProducts(span, block, products);
        }
      __syncwarp(); // all lanes have read the scales
      if (step + Ring::held < steps)
        Base::release(ring.stage);
      ring.next();
    }
  }

  /// Of 64 token rows over one block of the scales (Fp8Products::multiplyUnit).
  __device__ void startProducts(uint32_t span, uint32_t block, float (&products)[width / 2]) const {
    const uint64_t tokens = ptx::swizzledTile(ring.tokens(span) + firstRow(block) * tile::rowBytes);
    const uint64_t weights = ptx::swizzledTile(ring.weights(span));
    ptx::wgmmaFence();
#pragma unroll
    for (uint32_t k = 0; k < kFp8Block; k += 32)
      ptx::WgmmaE4M3<width>::run(products, ptx::advanceBytes(tokens, k), ptx::advanceBytes(weights, k), k != 0);
    ptx::wgmmaCommit();
  }

  /// Adds the products, times their scales, to the sums. A lane has two token rows; of its columns eight are gate's,
  /// the next eight up's.
  __device__ void addProducts(uint32_t span, uint32_t block, const float (&products)[width / 2]) {
    const uint32_t row = firstRow(block) + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    const float2 ofWeights = ptx::loadShared8(ring.weightScales(span));
    const float first = ptx::loadShared4(ring.scales(span) + row * 4),
                second = ptx::loadShared4(ring.scales(span) + row * 4 + 32);
    const float gate[2] = {first * ofWeights.x, second * ofWeights.x};
    const float up[2] = {first * ofWeights.y, second * ofWeights.y};
#pragma unroll
    for (uint32_t i = 0; i < width / 2; ++i)
      sums[block][i] += products[i] * (gated && i / 4 % 2 ? up : gate)[i / 2 % 2];
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
