// Routing: from logits to expert ids and weights.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// One warp's token. Expert e is held by lane e % 32 at place e / 32.
template <RouteConfig C> struct TokenRouter {
  static constexpr uint32_t places = (C.experts + 31) / 32;
  static constexpr uint32_t groupSize = C.experts / C.groups;
  static constexpr uint32_t notChoosable = 0;    // no expert, chosen already, or of a group that is not picked
  static constexpr uint32_t lowest = 0x007fffff; // orderedKey of minus infinity: chosen when nothing else is left
  static_assert(C.topK >= 1 && C.topK <= 32 && C.topK <= C.experts, "a lane holds each chosen expert");
  static_assert(C.groups >= 1 && C.groups <= 32 && C.experts % C.groups == 0 && C.groupsPicked <= C.groups,
                "equal groups, one bit each");

  struct Best {
    uint32_t key, expert;
  };

  uint32_t lane;
  float score[places];
  uint32_t key[places]; // what experts are chosen by

  __device__ uint32_t expertAt(uint32_t place) const { return place * 32 + lane; }

  /// Reads the token's logits and scores them; what is not finite counts as minus infinity. Returns how many of this
  /// lane's logits are not finite; `someFinite` tells, of all lanes, whether any is.
  __device__ uint32_t read(const float *logits, const float *correction, bool &someFinite) {
    bool finite[places];
    uint32_t numNonFinite = 0;
    bool some = false;
#pragma unroll
    for (uint32_t i = 0; i < places; ++i) {
      const bool exists = expertAt(i) < C.experts;
      const float logit = exists ? logits[expertAt(i)] : 0.0f;
      finite[i] = exists && isfinite(logit);
      score[i] = finite[i] ? logit : tile::negativeInfinity();
      numNonFinite += exists && !finite[i];
      some |= finite[i];
    }
    someFinite = __any_sync(tile::allLanes, some);
    scoreAll(finite);
#pragma unroll
    for (uint32_t i = 0; i < places; ++i) {
      const float chosenBy = C.correctionBias && finite[i] ? score[i] + correction[expertAt(i)] : score[i];
      key[i] = expertAt(i) >= C.experts ? notChoosable : finite[i] ? tile::orderedKey(chosenBy) : lowest;
    }
    return numNonFinite;
  }

  __device__ void scoreAll(const bool (&finite)[places]) {
    if constexpr (C.before == RouteScoring::Softmax) {
      float highest = tile::negativeInfinity(), sum = 0;
#pragma unroll
      for (uint32_t i = 0; i < places; ++i)
        highest = finite[i] ? fmaxf(highest, score[i]) : highest;
      highest = tile::warpMax(highest);
#pragma unroll
      for (uint32_t i = 0; i < places; ++i) {
        score[i] = finite[i] ? expf(score[i] - highest) : 0.0f;
        sum += score[i];
      }
      sum = tile::warpSum(sum);
#pragma unroll
      for (uint32_t i = 0; i < places; ++i)
        score[i] /= sum;
    } else if constexpr (C.before == RouteScoring::Sigmoid) {
#pragma unroll
      for (uint32_t i = 0; i < places; ++i)
        score[i] = 1.0f / (1.0f + expf(-score[i]));
    }
  }

  /// The best expert among those of `group` (-1: of all) that are still choosable; ties go to the lower one. There is
  /// one: groups are not smaller than `groupTop`, and those picked hold at least K (runtime/device/cpu/Route.h,
  /// checkRouter).
  __device__ Best best(const uint32_t (&keys)[places], int32_t group) const {
    Best mine{notChoosable, C.experts};
#pragma unroll
    for (uint32_t i = 0; i < places; ++i)
      if (keys[i] > mine.key && (group < 0 || expertAt(i) / groupSize == static_cast<uint32_t>(group)))
        mine = {keys[i], expertAt(i)};
    Best all;
    all.key = __reduce_max_sync(tile::allLanes, mine.key);
    all.expert = __reduce_min_sync(tile::allLanes, mine.key == all.key ? mine.expert : C.experts);
    return all;
  }

  __device__ void take(uint32_t (&keys)[places], uint32_t expert) const {
#pragma unroll
    for (uint32_t i = 0; i < places; ++i)
      if (expertAt(i) == expert)
        keys[i] = notChoosable;
  }

  /// A value that the expert's lane holds, for all lanes.
  __device__ float scoreOf(uint32_t expert) const {
    float value = 0;
#pragma unroll
    for (uint32_t i = 0; i < places; ++i)
      value = expertAt(i) == expert ? score[i] : value; // not score[expert / 32], which would move the array to memory
    return __shfl_sync(tile::allLanes, value, expert % 32);
  }

  static __device__ float keyValue(uint32_t key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
  }

  /// Leaves only the experts of the best groups choosable. A group's score is the sum of its `groupTop` best.
  __device__ void keepBestGroups() {
    float groupScore = tile::negativeInfinity(); // of group `lane`
    for (uint32_t group = 0; group < C.groups; ++group) {
      uint32_t left[places];
#pragma unroll
      for (uint32_t i = 0; i < places; ++i)
        left[i] = key[i];
      float sum = 0;
      for (uint32_t i = 0; i < C.groupTop; ++i) {
        const Best found = best(left, static_cast<int32_t>(group));
        sum += keyValue(found.key);
        take(left, found.expert);
      }
      if (lane == group)
        groupScore = sum;
    }
    uint32_t groupKey = lane < C.groups ? tile::orderedKey(groupScore) : notChoosable;
    uint32_t picked = 0; // one bit a group
    for (uint32_t i = 0; i < C.groupsPicked; ++i) {
      const uint32_t highest = __reduce_max_sync(tile::allLanes, groupKey);
      const uint32_t group = __ffs(__ballot_sync(tile::allLanes, groupKey == highest)) - 1;
      picked |= 1u << group;
      if (lane == group)
        groupKey = notChoosable;
    }
#pragma unroll
    for (uint32_t i = 0; i < places; ++i)
      if (expertAt(i) < C.experts && !(picked >> (expertAt(i) / groupSize) & 1))
        key[i] = notChoosable;
  }

  /// Lane k's chosen expert and its score.
  __device__ void choose(int32_t &id, float &weight) {
    for (uint32_t k = 0; k < C.topK; ++k) {
      const Best found = best(key, -1);
      const float value = scoreOf(found.expert);
      take(key, found.expert);
      if (lane == k) {
        id = static_cast<int32_t>(found.expert);
        weight = value;
      }
    }
  }

  /// What happens to the scores of the chosen (lanes below K): scoring over them alone, renormalisation, scale. Where
  /// nothing tells the chosen apart (groups left none with a finite logit, every score underflowed) they weigh alike.
  __device__ float finish(float weight, float epsilon, float scale) const {
    const bool chosen = lane < C.topK;
    constexpr float alike = 1.0f / C.topK;
    if constexpr (C.after == RouteScoring::Softmax) {
      const float highest = tile::warpMax(chosen ? weight : tile::negativeInfinity());
      const bool any = highest > tile::negativeInfinity();
      const float power = chosen && any ? expf(weight - highest) : 0.0f;
      weight = any ? power / tile::warpSum(power) : alike;
    } else if constexpr (C.after == RouteScoring::Sigmoid) {
      weight = 1.0f / (1.0f + expf(-weight));
    } else if constexpr (C.before == RouteScoring::None) {
      weight = weight > tile::negativeInfinity() ? weight : 0.0f;
    }
    if constexpr (C.renormalise) {
      const float sum = epsilon + tile::warpSum(chosen ? weight : 0.0f);
      return sum != 0.0f ? weight * (scale / sum) : alike * scale;
    }
    return weight * scale;
  }
};

/// Chooses each token's K experts (KernelAbi.h, RouteArgs).
///
/// Launch: C.threads threads, any grid; one warp a token, so routeBlocks() take one turn.
template <RouteConfig C> __global__ void __launch_bounds__(C.threads, 4) route(const __grid_constant__ RouteArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  constexpr uint32_t warps = C.threads / 32;
  TokenRouter<C> router;
  router.lane = threadIdx.x % 32;
  for (uint32_t token = blockIdx.x * warps + threadIdx.x / 32; token < args.numTokens; token += gridDim.x * warps) {
    bool someFinite;
    const uint32_t numNonFinite =
        router.read(args.logits + static_cast<uint64_t>(token) * args.logitStride, args.correctionBias, someFinite);
    if (numNonFinite > 0 && args.numNonFinite)
      atomicAdd(args.numNonFinite, numNonFinite);
    int32_t id = static_cast<int32_t>(router.lane);
    float weight = args.scale / C.topK;
    if (someFinite) { // the same for all lanes
      if constexpr (C.groups > 1)
        router.keepBestGroups();
      router.choose(id, weight);
      weight = router.finish(weight, args.epsilon, args.scale);
    }
    if (router.lane < C.topK) {
      args.ids[static_cast<uint64_t>(token) * C.topK + router.lane] = id;
      args.weights[static_cast<uint64_t>(token) * C.topK + router.lane] = weight;
    }
  }
}

} // namespace moec
