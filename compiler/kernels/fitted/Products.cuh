// What a multiplying warpgroup of groupedGemmFitted multiplies.
#pragma once

#include "compiler/kernels/fitted/Ring.cuh"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Consumer.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"

namespace moec {

/// The sums of a tile, for SwappedMultiplier.
template <GemmConfig C> struct FittedProducts : tile::Consumer<C, FittedRing<C>> {
  using Ring = FittedRing<C>;
  using Base = tile::Consumer<C, Ring>;
  using Base::args, Base::ring, Base::group, Base::release;
  static constexpr uint32_t blocks = Ring::blocks;

  float sums[blocks][C.tileTokens / 2];

  template <uint32_t Width> __device__ void multiply() {
    const uint32_t steps = ring.numSteps(args.k);
    for (uint32_t step = 0; step < steps; ++step) {
      ptx::barrierWait(ring.full(), ring.parity);
      if constexpr (Ring::copies)
        ptx::fenceProxyAsync(); // token rows came by cp.async, which is not the proxy that wgmma reads through
      ptx::wgmmaFence();
#pragma unroll
      for (uint32_t block = 0; block < blocks; ++block)
#pragma unroll
        for (uint32_t span = 0; span < Ring::spans; ++span) {
          const uint64_t weights = ring.weightTile(span, (group * blocks + block) * 64);
          const uint64_t tokens = ring.tokenTile(span, 0);
#pragma unroll
          for (uint32_t k = 0; k < 64; k += 16)
            ptx::Wgmma<C.element, Width>::run(sums[block], ptx::advance(weights, k), ptx::advance(tokens, k),
                                              step + span + k != 0);
        }
      ptx::wgmmaCommit();
      if (step == 0) {
        Base::finishStore();
      } else {
        ptx::wgmmaWait<1>(); // the step before is done with its stage
        if (step + Ring::held <= steps)
          release(ring.before(1));
      }
      ring.next();
    }
    ptx::wgmmaWait<0>();
  }
};

} // namespace moec
