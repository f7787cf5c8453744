#include "runtime/device/cpu/Route.h"

#include "runtime/device/cpu/Clones.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace moec {
namespace {

// Loops run over whole blocks of this many entries, each block entry with a partial result of its own: compilers turn
// that into vectors without being allowed to reorder a sum. Scratch rows are padded to it.
constexpr uint32_t block = 16;
constexpr float lowest = -std::numeric_limits<float>::infinity();

inline uint32_t padded(uint32_t experts) { return (experts + block - 1) / block * block; }

/// e^x within 2 ulp for x <= 0; 0 below the smallest normal result. (Cephes' polynomial on [-ln2/2, ln2/2].)
inline float expOf(float x) {
  constexpr float log2e = 1.44269504f, ln2High = 0.693359375f, ln2Low = -2.12194440e-4f;
  constexpr float roundToInteger = 12582912.0f; // 1.5 * 2^23: adding it leaves the integer in the low bits
  float clamped = x < -87.0f ? -87.0f : x;
  float shifted = clamped * log2e + roundToInteger;
  int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(roundToInteger);
  float n = shifted - roundToInteger;
  float r = clamped - n * ln2High - n * ln2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  float result = p * std::bit_cast<float>((exponent + 127) << 23);
  return x < -87.0f ? 0.0f : result;
}

inline float sigmoidOf(float x) {
  float e = expOf(x < 0 ? x : -x);
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

/// Copies the logits, bias added, what is not finite replaced; returns how many that were.
MOEC_CLONES uint32_t clean(const float *logits, const float *bias, uint32_t experts, float *to) {
  uint32_t bad = 0;
  for (uint32_t e = 0; e < experts; ++e) {
    float value = bias ? logits[e] + bias[e] : logits[e];
    bool finite = (std::bit_cast<uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
    bad += !finite;
    to[e] = finite ? value : lowest;
  }
  std::fill(to + experts, to + padded(experts), lowest);
  return bad;
}

MOEC_CLONES float largest(const float *values, uint32_t count) {
  float best[block];
  std::fill(best, best + block, lowest);
  for (uint32_t e = 0; e < count; e += block)
    for (uint32_t i = 0; i < block; ++i)
      best[i] = values[e + i] > best[i] ? values[e + i] : best[i];
  return *std::max_element(best, best + block);
}

/// scores = softmax(values), both padded.
MOEC_CLONES void softmax(const float *values, uint32_t count, float *scores) {
  const float most = largest(values, count);
  float sums[block] = {};
  for (uint32_t e = 0; e < count; e += block)
    for (uint32_t i = 0; i < block; ++i) {
      scores[e + i] = expOf(values[e + i] - most);
      sums[i] += scores[e + i];
    }
  float sum = 0;
  for (float part : sums)
    sum += part;
  const float scale = 1.0f / sum;
  for (uint32_t e = 0; e < count; ++e)
    scores[e] *= scale;
}

MOEC_CLONES void sigmoid(const float *values, uint32_t count, float *scores) {
  for (uint32_t e = 0; e < count; ++e)
    scores[e] = sigmoidOf(values[e]);
}

/// What experts are chosen by: scores plus correction, minus infinity where the logit was.
MOEC_CLONES void choiceKeys(const float *values, const float *scores, const float *correction, uint32_t experts,
                            float *keys) {
  for (uint32_t e = 0; e < experts; ++e) {
    float key = correction ? scores[e] + correction[e] : scores[e];
    keys[e] = values[e] == lowest ? lowest : key;
  }
  std::fill(keys + experts, keys + padded(experts), lowest);
}

/// The best `capacity` entries seen, best first, the earlier of equals first.
class Best {
public:
  Best(int32_t *ids, float *keys, uint32_t capacity) : ids(ids), keys(keys), capacity(capacity) {}

  /// Entries must come by ascending id.
  void offer(int32_t id, float key) {
    if (held == capacity && !(key > keys[held - 1]))
      return;
    uint32_t at = held < capacity ? held++ : capacity - 1;
    for (; at > 0 && key > keys[at - 1]; --at) {
      keys[at] = keys[at - 1];
      ids[at] = ids[at - 1];
    }
    keys[at] = key;
    ids[at] = id;
  }

  /// Offers [begin, end), skipping whole blocks that hold nothing better than the worst one kept.
  void offerRange(const float *candidates, uint32_t begin, uint32_t end) {
    for (uint32_t e = begin; e < end;) {
      uint32_t stop = std::min(end, e + block);
      if (stop - e == block && held == capacity) {
        uint32_t better = 0;
        const float worst = keys[held - 1];
        for (uint32_t i = 0; i < block; ++i)
          better |= candidates[e + i] > worst;
        if (!better) {
          e = stop;
          continue;
        }
      }
      for (; e < stop; ++e)
        offer(static_cast<int32_t>(e), candidates[e]);
    }
  }

private:
  int32_t *ids;
  float *keys;
  uint32_t capacity;
  uint32_t held = 0;
};

/// Most groups that a router may have (checked when a layer is opened): their scores live on the stack.
static_assert(kMaxRouterGroups <= 256);

/// Marks in `picked` [groups] the groups that may be chosen from; `scratch` [groups].
void pickGroups(const RouteSpec &spec, const float *keys, float *scratch, uint8_t *picked) {
  const uint32_t groups = spec.router.groups, size = spec.experts / groups;
  for (uint32_t g = 0; g < groups; ++g) {
    float best[kMaxGroupTop];
    int32_t unused[kMaxGroupTop];
    const uint32_t top = spec.router.groupTop;
    Best kept(unused, best, top);
    for (uint32_t e = g * size; e < (g + 1) * size; ++e)
      kept.offer(static_cast<int32_t>(e), keys[e]);
    scratch[g] = 0;
    for (uint32_t i = 0; i < top; ++i)
      scratch[g] += best[i];
    picked[g] = 0;
  }
  for (uint32_t n = 0; n < spec.router.groupsPicked; ++n) {
    uint32_t best = groups;
    for (uint32_t g = 0; g < groups; ++g)
      if (!picked[g] && (best == groups || scratch[g] > scratch[best]))
        best = g;
    picked[best] = 1;
  }
}

/// Softmax or sigmoid over the K chosen, renormalisation, scale.
void finishWeights(const RouterSpec &router, uint32_t topK, float *weights) {
  // Groups may leave only experts without a finite logit to choose from; a difference of infinities would be NaN.
  const float most = *std::max_element(weights, weights + topK);
  if (router.after == Scoring::Softmax && most == lowest) {
    std::fill(weights, weights + topK, 1.0f / static_cast<float>(topK));
  } else if (router.after == Scoring::Softmax) {
    float sum = 0;
    for (uint32_t k = 0; k < topK; ++k)
      sum += weights[k] = expOf(weights[k] - most);
    for (uint32_t k = 0; k < topK; ++k)
      weights[k] /= sum;
  } else if (router.after == Scoring::Sigmoid) {
    for (uint32_t k = 0; k < topK; ++k)
      weights[k] = sigmoidOf(weights[k]);
  }
  float scale = static_cast<float>(router.scale);
  if (router.renormalise) {
    float sum = static_cast<float>(router.epsilon);
    for (uint32_t k = 0; k < topK; ++k)
      sum += weights[k];
    if (sum == 0) { // every score underflowed: nothing tells the chosen apart
      std::fill(weights, weights + topK, 1.0f / static_cast<float>(topK));
      sum = 1;
    }
    scale /= sum;
  }
  for (uint32_t k = 0; k < topK; ++k)
    weights[k] *= scale;
}

} // namespace

Status checkRouter(const RouterSpec &router, const LayerShape &shape) {
  if (shape.topK == 0 || shape.topK > shape.experts)
    return makeError(Code::InvalidModel, "top-k {} of {} experts", shape.topK, shape.experts);
  if (router.groups == 0 || router.groups > kMaxRouterGroups || shape.experts % router.groups != 0)
    return makeError(Code::InvalidModel, "{} groups of {} experts", router.groups, shape.experts);
  const uint32_t size = shape.experts / router.groups;
  if (router.groupsPicked == 0 || router.groupsPicked > router.groups || router.groupsPicked * size < shape.topK)
    return makeError(Code::InvalidModel, "top-k {} from {} of {} groups of {} experts", shape.topK, router.groupsPicked,
                     router.groups, size);
  if (router.groupTop == 0 || router.groupTop > std::min(size, kMaxGroupTop))
    return makeError(Code::InvalidModel, "a group's score from its {} best of {} experts", router.groupTop, size);
  return {};
}

uint32_t routeToken(const RouteSpec &spec, const float *logits, float *scratch, int32_t *ids, float *weights) {
  const RouterSpec &router = spec.router;
  const uint32_t experts = spec.experts, width = padded(experts);
  float *values = scratch, *scores = scratch + width, *keys = scratch + 2 * width;
  const uint32_t bad = clean(logits, spec.routerBias, experts, values);
  if (bad == experts) {
    for (uint32_t k = 0; k < spec.topK; ++k) {
      ids[k] = static_cast<int32_t>(k);
      weights[k] = static_cast<float>(router.scale) / static_cast<float>(spec.topK);
    }
    return bad;
  }

  if (router.before == Scoring::Softmax)
    softmax(values, width, scores);
  else if (router.before == Scoring::Sigmoid)
    sigmoid(values, width, scores);
  else
    scores = values;
  choiceKeys(values, scores, spec.correctionBias, experts, keys);

  Best best(ids, weights, spec.topK);
  if (router.groups > 1) {
    uint8_t picked[kMaxRouterGroups];
    float groupScores[kMaxRouterGroups];
    pickGroups(spec, keys, groupScores, picked);
    const uint32_t size = experts / router.groups;
    for (uint32_t g = 0; g < router.groups; ++g)
      if (picked[g])
        best.offerRange(keys, g * size, (g + 1) * size);
  } else {
    best.offerRange(keys, 0, experts);
  }
  const bool logitsAreWeights = router.before == Scoring::None && router.after == Scoring::None;
  for (uint32_t k = 0; k < spec.topK; ++k) {
    float score = scores[ids[k]];
    weights[k] = logitsAreWeights && score == lowest ? 0.0f : score;
  }
  finishWeights(router, spec.topK, weights);
  return bad;
}

} // namespace moec
