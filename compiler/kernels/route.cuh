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
  static constexpr uint32_t notChoosable = 0; // below the key of every finite float
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

  /// Reads the token's logits and scores them. Returns how many of this lane's logits are not finite.
  ///
  /// Such an expert is never chosen. A token without any finite logit is routed as if all of its logits were 0.
  __device__ uint32_t read(const float *logits, const float *correction) {
    bool finite[places];
    uint32_t numNonFinite = 0;
    bool some = false;
#pragma unroll
    for (uint32_t i = 0; i < places; ++i) {
      const bool exists = expertAt(i) < C.experts;
      score[i] = exists ? logits[expertAt(i)] : 0.0f;
      finite[i] = exists && isfinite(score[i]);
      numNonFinite += exists && !finite[i];
      some |= finite[i];
    }
    if (!__any_sync(tile::allLanes, some)) {
#pragma unroll
      for (uint32_t i = 0; i < places; ++i) {
        score[i] = 0.0f;
        finite[i] = expertAt(i) < C.experts;
      }
    }
    scoreAll(finite);
#pragma unroll
    for (uint32_t i = 0; i < places; ++i) {
      const float chosenBy = C.correctionBias && finite[i] ? score[i] + correction[expertAt(i)] : score[i];
      key[i] = finite[i] && isfinite(chosenBy) ? tile::orderedKey(chosenBy) : notChoosable;
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

  /// The best expert among those of `group` (-1: of all) that the lanes still hold; ties go to the lower one.
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
      value = i == expert / 32 ? score[i] : value;
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
      bool some = false;
      for (uint32_t i = 0; i < C.groupTop; ++i) {
        const Best found = best(left, static_cast<int32_t>(group));
        if (found.key == notChoosable)
          break;
        some = true;
        sum += keyValue(found.key);
        take(left, found.expert);
      }
      if (lane == group && some)
        groupScore = sum;
    }
    uint32_t groupKey = lane < C.groups && groupScore > tile::negativeInfinity() ? tile::orderedKey(groupScore) : notChoosable;
    uint32_t picked = 0; // one bit a group
    for (uint32_t i = 0; i < C.groupsPicked; ++i) {
      const uint32_t highest = __reduce_max_sync(tile::allLanes, groupKey);
      if (highest == notChoosable)
        break;
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

  /// Lane k's chosen expert and weight; -1 and 0 where nothing was left to choose.
  __device__ void choose(int32_t &id, float &weight) {
    id = -1;
    weight = 0;
    for (uint32_t k = 0; k < C.topK; ++k) {
      const Best found = best(key, -1);
      if (found.key == notChoosable)
        break;
      const float value = scoreOf(found.expert);
      take(key, found.expert);
      if (lane == k) {
        id = static_cast<int32_t>(found.expert);
        weight = value;
      }
    }
  }

  /// What happens to the chosen weights: scoring over them alone, renormalisation, scale.
  static __device__ float finish(float weight, bool chosen, float epsilon, float scale) {
    if constexpr (C.after == RouteScoring::Softmax) {
      const float highest = tile::warpMax(chosen ? weight : tile::negativeInfinity());
      const float power = chosen ? expf(weight - highest) : 0.0f;
      weight = power / tile::warpSum(power);
    } else if constexpr (C.after == RouteScoring::Sigmoid) {
      weight = 1.0f / (1.0f + expf(-weight));
    }
    weight = chosen ? weight : 0.0f;
    if constexpr (C.renormalise) {
      const float sum = tile::warpSum(weight) + epsilon;
      weight = sum != 0.0f ? weight / sum : 0.0f;
    }
    return weight * scale;
  }
};

/// Chooses each token's K experts (KernelAbi.h, RouteArgs).
///
/// Launch: C.threads threads, any grid; one warp a token, so ceil(T / (C.threads / 32)) blocks take one turn.
template <RouteConfig C> __global__ void __launch_bounds__(C.threads) route(const __grid_constant__ RouteArgs args) {
  ptx::startNext();
  ptx::waitForPrevious();
  constexpr uint32_t warps = C.threads / 32;
  TokenRouter<C> router;
  router.lane = threadIdx.x % 32;
  for (uint32_t token = blockIdx.x * warps + threadIdx.x / 32; token < args.numTokens; token += gridDim.x * warps) {
    const uint32_t numNonFinite =
        router.read(args.logits + static_cast<uint64_t>(token) * args.logitStride, args.correctionBias);
    if (numNonFinite > 0 && args.numNonFinite)
      atomicAdd(args.numNonFinite, numNonFinite);
    if constexpr (C.groups > 1)
      router.keepBestGroups();
    int32_t id;
    float weight;
    router.choose(id, weight);
    weight = router.finish(weight, id >= 0, args.epsilon, args.scale);
    if (router.lane < C.topK) {
      args.ids[static_cast<uint64_t>(token) * C.topK + router.lane] = id;
      args.weights[static_cast<uint64_t>(token) * C.topK + router.lane] = weight;
    }
  }
}

} // namespace moec
