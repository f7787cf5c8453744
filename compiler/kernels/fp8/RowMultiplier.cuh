// What a multiplying warpgroup of groupedGemmFp8 does for many rows an expert.
#pragma once

#include "compiler/kernels/fp8/QuantisedRows.cuh"
#include "compiler/kernels/fp8/Ring.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Consumer.cuh"

namespace moec {

/// Token rows are on the 64-row side: of 128 products that a thread has, 64 share a token's scale and all those of
/// gate, or of up, a weights' scale, so that adding them up costs one operation each. On the other side it costs two
/// and a load, which the tensor cores wait for (docs/performance-log.md).
///
/// A warpgroup's tile is in parts of 64 token rows by 128 weight rows, whose products over one block of the scales make
/// a unit; registers hold the sums of two parts and the products of one unit.
template <GemmConfig C, class Activation> struct Fp8RowMultiplier : tile::Consumer<C, Fp8Ring<C>> {
  using Ring = Fp8Ring<C>;
  using Base = tile::Consumer<C, Ring>;
  using Base::args, Base::ring, Base::group;
  static constexpr bool gated = Ring::gated;
  static constexpr uint32_t blocks = Ring::blocks, groups = Ring::groups, width = kFp8Block;
  static constexpr uint32_t halves = C.tileWeights / width;         // of the weight rows
  static constexpr uint32_t pieces = outputColumns(C) / halves / 8; // of eight output columns, in a part
  static_assert(!C.swapAB && C.tileWeights % width == 0 && blocks * halves <= 2);
  static_assert(!gated || halves == 1 || givesQuantised(C), "bf16 outputs of gate-up are written by halves");

  const Fp8GemmArgs &scaled;
  float sums[blocks * halves][width / 2];

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

  __device__ void keepOutputs(const tile::Work &work) {
    if constexpr (givesQuantised(C)) {
      if (firstRow(0) < work.rows)
        keepQuantised(work);
    } else {
      keepRounded(work);
    }
  }

private:
  /// What a lane's products are multiplied by: it has two token rows. Down: `gate` alone.
  struct Scales {
    float gate[2], up[2];
  };

  template <uint32_t Blocks> __device__ void multiply() {
    static_assert(Blocks == 1 || Blocks == blocks);
    constexpr uint32_t parts = Blocks * halves, units = Ring::spans * parts; // of a stage
#pragma unroll
    for (uint32_t part = 0; part < parts; ++part)
#pragma unroll
      for (uint32_t i = 0; i < width / 2; ++i)
        sums[part][i] = 0;
    float products[width / 2];
    const uint32_t steps = ring.numSteps(args.k);
    ptx::barrierWait(ring.full(), ring.parity);
    Scales scales = readScales(ring, 0, 0);
    for (uint32_t step = 0; step < steps; ++step) {
      Ring ahead = ring;
      ahead.next();
#pragma unroll
      for (uint32_t unit = 0; unit < units; ++unit) {
        startProducts(unit / parts, unit % parts, products);
        if (unit == 0 && step == 0)
          Base::finishStore();
        // All that the next unit wants is made ready in the shadow of this one's products: what stands between two
        // units keeps the tensor cores waiting.
        Scales following = scales;
        if (unit + 1 < units) {
          following = readScales(ring, (unit + 1) / parts, (unit + 1) % parts);
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
        addProducts(unit % parts, scales, products);
        scales = following;
      }
      ring = ahead;
    }
  }

  /// Of 64 token rows over one block of the scales (Fp8Products::multiplyUnit).
  __device__ void startProducts(uint32_t span, uint32_t part, float (&products)[width / 2]) const {
    const uint64_t tokens = ring.tokenTile(span, firstRow(part / halves)),
                   weights = ring.weightTile(span, part % halves * width);
    ptx::wgmmaFence();
#pragma unroll
    for (uint32_t k = 0; k < kFp8Block; k += 32)
      ptx::WgmmaE4M3<width>::run(products, ptx::advanceBytes(tokens, k), ptx::advanceBytes(weights, k), k != 0);
    ptx::wgmmaCommit();
  }

  /// The lane's first token row in a block of 64; the other is eight behind.
  __device__ uint32_t laneRow(uint32_t block) const {
    return firstRow(block) + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
  }

  __device__ Scales readScales(const Ring &of, uint32_t span, uint32_t part) const {
    const uint32_t rows = of.scales(span) + laneRow(part / halves) * 4;
    const float2 ofWeights = ptx::loadShared8(of.weightScales(span));
    const float first = ptx::loadShared4(rows), second = ptx::loadShared4(rows + 32);
    const float gate = !gated && part % halves ? ofWeights.y : ofWeights.x;
    return {{first * gate, second * gate}, {first * ofWeights.y, second * ofWeights.y}};
  }

  /// Adds the products, times their scales, to the sums. Of a lane's columns eight are gate's, the next eight up's.
  __device__ void addProducts(uint32_t part, const Scales &scales, const float (&products)[width / 2]) {
#pragma unroll
    for (uint32_t i = 0; i < width / 2; ++i)
      sums[part][i] += products[i] * (gated && i / 4 % 2 ? scales.up : scales.gate)[i / 2 % 2];
  }

  /// Writes the outputs into their panels, two columns of a row at a time; rows and pieces of the swizzle fall into
  /// different banks.
  __device__ void keepRounded(const tile::Work &work) const {
#pragma unroll
    for (uint32_t part = 0; part < blocks * halves; ++part) {
      if (firstRow(part / halves) >= work.rows)
        break;
#pragma unroll
      for (uint32_t i = 0; i < pieces; ++i)
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
          const uint32_t row = laneRow(part / halves) + half * 8, piece = part % halves * pieces + i;
          ptx::storeShared4(ring.panel(piece / 8) + tile::swizzled(row, piece % 8) + threadIdx.x % 4 * 4,
                            outputPair(&sums[part][i * (gated ? 8 : 4) + half * 2]));
        }
    }
  }

  static __device__ uint32_t outputPair(const float *from) {
    if constexpr (gated)
      return ptx::Convert<C.element>::pack(Activation::apply(from[0], from[4]), Activation::apply(from[1], from[5]));
    else
      return ptx::Convert<C.element>::pack(from[0], from[1]);
  }

  /// As quantise makes them of the rounded outputs: the columns of one scale are this warpgroup's, a row's in the four
  /// lanes of a quad.
  __device__ void keepQuantised(const tile::Work &work) {
    Fp8LaneRow<C.element, halves * pieces> rows[2];
#pragma unroll
    for (uint32_t piece = 0; piece < halves * pieces; ++piece) {
      const bool exists = work.firstColumn + piece * 8 < args.n; // as beyond the row's end in quantise
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half)
        rows[half].pairs[piece] = exists ? outputPair(&sums[piece / pieces][piece % pieces * 8 + half * 2]) : 0;
    }
    const uint64_t scales = uint64_t{work.firstColumn / kFp8Block} * scaled.tokenScaleStride + work.firstSlot;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t row = laneRow(0) + half * 8;
      const float most = rows[half].most();
      rows[half].store(ring.panel(0), row, kFp8Most / most);
      if (threadIdx.x % 4 == 0 && row < work.rows)
        scaled.outputScales[scales + row] = most / kFp8Most;
    }
  }
};

} // namespace moec
