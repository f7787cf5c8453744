// What down for steps of few tokens does with what a token's experts give (downFew.cuh, downFewFp8.cuh).
#pragma once

#include "compiler/kernels/DownFewAbi.h"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Counters.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// The columns of a token's output that are a block's: C.groups times kDownFewColumns.
template <DownFewConfig C> struct TokenColumns {
  static constexpr uint32_t parts = C.topK * C.groups; // a pair's columns of one group each, pair by pair
  static_assert(C.groups * (kDownFewColumns / 2) <= 32, "a lane has two columns");

  const DownFewArgs &args;
  uint32_t token, firstColumn;

  /// Pairs of the token that have an expert, of a mask of all pairs.
  __device__ uint32_t ofToken(uint32_t pairs) const { return pairs >> token * C.topK & ((1u << C.topK) - 1); }

  /// Of the lane's part.
  __device__ uint32_t expertOfLane() const {
    const uint32_t lane = threadIdx.x % 32;
    return lane < parts ? static_cast<uint32_t>(args.few.ids[token * C.topK + lane / C.groups]) : args.few.numExperts;
  }

  /// By all lanes of a warp. `present`: ofToken().
  __device__ float weightOfLane(uint32_t present) const {
    const uint32_t lane = threadIdx.x % 32;
    if (lane >= C.topK || !(present >> lane & 1))
      return 0;
    return args.pairWeights ? args.pairWeights[token * C.topK + lane] : 1.0f;
  }

  /// By the loading warp, once all its loads are under way: what starts earlier takes the place of blocks with work.
  __device__ void endLoads() const {
    ptx::waitForPrevious();
    ptx::startNext();
    if (blockIdx.x == gridDim.x - 1)
      sampleFewCounts(args.ring, args.few);
  }

  static __device__ float roundedOf(float sum) {
    return ptx::Convert<C.element>::low(ptx::Convert<C.element>::pack(sum, 0));
  }

  /// As RowSum does it, two columns a lane. By one warp. `rounded`: of each part what its expert gives.
  __device__ void combine(uint32_t present, float weight, const float (&rounded)[parts][kDownFewColumns]) const {
    const uint32_t lane = threadIdx.x % 32, column = lane % (kDownFewColumns / 2) * 2,
                   group = lane / (kDownFewColumns / 2) % C.groups;
    float2 values[C.topK];
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k)
      values[k] = present >> k & 1 ? *reinterpret_cast<const float2 *>(&rounded[k * C.groups + group][column])
                                   : make_float2(0, 0);
    float low = 0, high = 0;
#pragma unroll
    for (uint32_t k = 0; k < C.topK; ++k) {
      const float times = __shfl_sync(allLanes, weight, k);
      low += times * values[k].x;
      high += times * values[k].y;
    }
    if (lane < C.groups * (kDownFewColumns / 2))
      store4(elementAt(args.output, token, args.n, firstColumn + group * kDownFewColumns + column),
             ptx::Convert<C.element>::pack(low, high));
  }
};

} // namespace moec::tile
