// What a multiplying warpgroup of groupedGemmFp8 does for few rows an expert where gate-up gives its rows quantised.
#pragma once

#include "compiler/kernels/fp8/BlockPart.cuh"
#include "compiler/kernels/fp8/Products.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/SwappedMultiplier.cuh"

namespace moec {

/// The columns of one scale are spread over all warps, which therefore leave their rounded outputs in shared memory
/// first. From there half a warp quantises a row, as quantise would.
template <GemmConfig C, class Activation>
struct Fp8OutputQuantiser : tile::SwappedMultiplier<C, Fp8Products<C>, Activation> {
  using Base = tile::SwappedMultiplier<C, Fp8Products<C>, Activation>;
  using Ring = Fp8Ring<C>;
  using Base::args, Base::ring, Base::hasColumns;
  static constexpr uint32_t roundedPanel = 1, columnsOfLane = kFp8Block / 16; // (panel 0 is what leaves)
  static_assert(givesQuantised(C) && C.swapAB && Ring::panels == 1);
  static_assert(roundedPanel + 2 <= Ring::panelsPerStage && Ring::held == 1, "rounded outputs lie in the held stage");

  const Fp8GemmArgs &scaled;

  __device__ void keepOutputs(const tile::Work &work) {
    if (hasColumns)
      Base::writePanels(work, roundedPanel);
    ptx::namedBarrier<1, Ring::multipliers>();
    for (uint32_t row = (threadIdx.x - 128) / 16; row < C.tileTokens; row += Ring::multipliers / 16)
      quantise(work, row);
  }

private:
  /// By all lanes of a warp, half of them for each of two rows.
  __device__ void quantise(const tile::Work &work, uint32_t row) const {
    const uint32_t lane = threadIdx.x % 16;
    uint32_t rounded[4] = {};
    if (work.firstColumn + lane * columnsOfLane < args.n) // others are as beyond the row's end in quantise
      ptx::loadShared16(rounded, ring.panel(roundedPanel + lane / 8) + tile::swizzled(row, lane % 8));
    const BlockPart<C.element> part(make_uint4(rounded[0], rounded[1], rounded[2], rounded[3]));
    const float most = part.most();
    ptx::storeShared8(ring.panel(0) + tile::swizzled(row, lane / 2) + lane % 2 * 8, part.times(kFp8Most / most));
    const uint64_t scales = uint64_t{work.firstColumn / kFp8Block} * scaled.tokenScaleStride + work.firstSlot;
    if (lane == 0 && row < work.rows)
      scaled.outputScales[scales + row] = most / kFp8Most;
  }
};

} // namespace moec
