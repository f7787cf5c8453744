// What a multiplying warpgroup of routerLogitsSm90 multiplies, and how it adds that up.
#pragma once

#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/router/Ring.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// Experts are on the 64-row side of wgmma. The sum of a share starts anew in `sums` and is then added to the total, as
/// the warps' sums are in small tiles (SplitRouterTile).
template <RouterGemmConfig C> struct RouterMultiplier {
  static constexpr uint32_t numSums = C.tileTokens / 2; // of a thread
  static_assert(C.tileExperts == routerGroups(C) * 64);

  const RouterGemmArgs &args;
  RouterRing<C> ring;
  const uint32_t group; // this warpgroup among the multiplying ones
  float sums[numSums], total[numSums];

  __device__ RouterMultiplier(const RouterGemmArgs &args, const RouterRing<C> &ring)
      : args(args), ring(ring), group(tile::warpgroup() - 1) {}

  __device__ void multiplyTile(const tile::RouterPlace<C> &place) {
#pragma unroll
    for (uint32_t i = 0; i < numSums; ++i)
      total[i] = 0;
    for (uint32_t share = 0; share < kRouterWarps; ++share) {
      const uint32_t steps = RouterRing<C>::stagesOf(tile::RouterShare(args.hiddenSize, share)) * args.planes;
      if (steps == 0)
        break; // the others have none either
      multiplyShare(steps);
      addShare();
    }
    store(place);
  }

  __device__ void multiplyShare(uint32_t steps) {
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
      ptx::fenceProxyAsync(); // rows came by cp.async, which is not the proxy that wgmma reads through
      ptx::wgmmaFence();
      const uint64_t weights = ring.weightTile(group * 64), tokens = ring.tileAt(0);
#pragma unroll
      for (uint32_t k = 0; k < tile::rowBytes / 2; k += 16)
        ptx::Wgmma<C.element, C.tileTokens>::run(sums, ptx::advance(weights, k), ptx::advance(tokens, k),
                                                 step + k != 0);
      ptx::wgmmaCommit();
      if (step > 0) {
        ptx::wgmmaWait<1>(); // the step before is done with its stage
        release(ring.before(1));
      }
      ring.next();
    }
    ptx::wgmmaWait<0>();
    release(ring.before(1));
  }

  /// Tells the loading warps that this one needs the stage no more.
  __device__ void release(uint32_t stage) const {
    if (threadIdx.x % 32 == 0)
      ptx::barrierArrive(ring.emptyOf(stage));
  }

  /// Adds a share's sums to the total. (The first one's are added to zero, which changes no bit but a zero's sign.)
  __device__ void addShare() {
#pragma unroll
    for (uint32_t i = 0; i < numSums; ++i)
      total[i] += sums[i];
  }

  /// Totals i to i + 3 are two tokens of two experts, eight experts apart (ptx/Wgmma.cuh). What RouterPlace::store asks
  /// of each logit is asked once where it can be.
  __device__ void store(const tile::RouterPlace<C> &place) const {
    const uint32_t lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane / 4;
    const uint32_t column = place.firstColumn + group * 64 + row;
    const uint32_t token = place.firstToken + lane % 4 * 2;
    const uint32_t tokens = token < args.numTokens ? args.numTokens - token : 0; // from this lane's first one on
    const uint32_t first = column < place.numColumns ? tokens : 0, second = column + 8 < place.numColumns ? tokens : 0;
    const float firstBias = biasOf(column), secondBias = biasOf(column + 8);
    float *to = args.logits + static_cast<uint64_t>(token) * args.logitStride + column;
#pragma unroll
    for (uint32_t i = 0; i < numSums; i += 4, to += args.logitStride * 8) {
      if (i * 2 < first)
        to[0] = total[i] + firstBias;
      if (i * 2 + 1 < first)
        to[args.logitStride] = total[i + 1] + firstBias;
      if (i * 2 < second)
        to[8] = total[i + 2] + secondBias;
      if (i * 2 + 1 < second)
        to[args.logitStride + 8] = total[i + 3] + secondBias;
    }
  }

  /// Zero, which changes no total (they are never negative zeros), where there is none.
  __device__ float biasOf(uint32_t column) const {
    return args.bias && column < args.numExperts ? args.bias[column] : 0;
  }
};

} // namespace moec
