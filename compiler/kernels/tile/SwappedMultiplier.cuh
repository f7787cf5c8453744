// What a multiplying warpgroup does where weights are on the 64-row side of wgmma and token rows on the other.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Bias.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/RowWeights.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/WorkQueue.cuh"

namespace moec::tile {

/// `Products` (FittedProducts<C> or Fp8Products<C>) is a Consumer whose multiply<Width>() leaves a tile's sums over its
/// first Width token rows in `sums`. Takes part in multiplyTiles().
template <GemmConfig C, class Products, class Activation> struct SwappedMultiplier : Products {
  using Products::args, Products::ring, Products::group, Products::sums;
  using Ring = typename Products::Ring;
  static constexpr bool gated = Ring::gated;
  static constexpr uint32_t blocks = Ring::blocks;
  static constexpr uint32_t blockColumns = gated ? 32 : 64; // outputs of 64 weight rows
  static_assert(C.swapAB && C.tileTokens % 16 == 0 && C.tileTokens <= 256);
  static_assert(!C.weighted || gated, "weights are on what gate and up take in");

  bool hasColumns = false; // of the last tile: else all that are this warpgroup's lie past the last

  __device__ void multiplyTile(const Work &work) {
    hasColumns = work.firstColumn + group * blocks * blockColumns < args.n;
    multiplySixteens(hasColumns ? (work.rows + 15) / 16 : 0);
  }

  __device__ void keepOutputs(const Work &work) {
    if constexpr (C.weighted)
      weighColumns<C.tileTokens>(args, slotPairOf<C>(args), work, sums); // below the condition ptxas would spill
    if (!hasColumns)
      return;
    if constexpr (C.biased && gated)
      addBiases(work);
    writePanels(work, 0);
  }

protected:
  /// Into panels from `firstPanel` on.
  __device__ void writePanels(const Work &work, uint32_t firstPanel) const {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    // An instruction stores 8x8 matrices: 16 token rows of eight columns; down: of sixteen. (Gate-up's could store 32
    // rows at a time; the registers for that are what the dearest activations need.)
    constexpr uint32_t step = 16;
    const uint32_t lanesRow = gated ? lane % 16 : lane / 16 * 8 + lane % 8;
    const uint32_t warpPiece = gated ? warp : warp * 2 + lane / 8 % 2;
#pragma unroll
    for (uint32_t block = 0; block < blocks; ++block) {
      const uint32_t piece = (group * blocks + block) * (blockColumns / 8) + warpPiece;
      const uint32_t panel = ring.panel(firstPanel + piece / 8) + swizzled(lanesRow, piece % 8);
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
          ptx::storeTransposed2(panel + first * rowBytes, packed[0], packed[1]);
        else
          ptx::storeTransposed4(panel + first * rowBytes, packed[0], packed[1], packed[2], packed[3]);
      }
    }
  }

private:
  __device__ void multiplySixteens(uint32_t sixteens) {
    switch (sixteens) {
#define MOEC_WIDTH(n)                                                                                                  \
  case n:                                                                                                              \
    if constexpr (n * 16 <= C.tileTokens)                                                                              \
      return Products::template multiply<n * 16>();                                                                    \
    break;
      MOEC_WIDTH(1)
      MOEC_WIDTH(2)
      MOEC_WIDTH(3)
      MOEC_WIDTH(4)
      MOEC_WIDTH(5)
      MOEC_WIDTH(6) MOEC_WIDTH(7) MOEC_WIDTH(8) MOEC_WIDTH(9) MOEC_WIDTH(10) MOEC_WIDTH(11) MOEC_WIDTH(12)
          MOEC_WIDTH(13) MOEC_WIDTH(14) MOEC_WIDTH(15) MOEC_WIDTH(16)
#undef MOEC_WIDTH
    }
    Products::skip();
  }

  /// Biases of this lane's weight rows in the two halves of its warp's sixteen rows; gate-up: gate's and up's of one
  /// column.
  struct Biases {
    float of[2];
  };

  __device__ Biases biasesOf(const Work &work, uint32_t block) const {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    const uint32_t column =
        work.firstColumn + (group * blocks + block) * blockColumns + warp * (gated ? 8 : 16) + lane / 4;
    if constexpr (gated)
      return {biasAt(args, args.bias, work, column), biasAt(args, args.upBias, work, column)};
    else
      return {biasAt(args, args.bias, work, column), biasAt(args, args.bias, work, column + 8)};
  }

  /// Gate-up: into the sums, for the activation needs the registers that biases would stay in. Down has them to spare,
  /// and there ptxas would serialise the wgmma whose accumulators are written here.
  __device__ void addBiases(const Work &work) {
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

  /// Two token rows of one output column. Gate-up: its gate sums are at `at`, its up sums, eight weight rows on,
  /// behind.
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
};

} // namespace moec::tile
