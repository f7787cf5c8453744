#include "tools/bench/gpu/Reference.h"

#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace moec::bench {
namespace {

constexpr double never = -std::numeric_limits<double>::infinity();

std::vector<double> valuesOf(const std::vector<uint16_t> &elements, bool bf16) {
  std::vector<double> values(elements.size());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = elementValue(elements[i], bf16);
  return values;
}

double dot(const double *a, const double *b, uint32_t length) {
  double sum = 0;
  for (uint32_t i = 0; i < length; ++i)
    sum += a[i] * b[i];
  return sum;
}

void scoreAll(RouteScoring scoring, std::vector<double> &scores, const std::vector<bool> &in) {
  double highest = never, sum = 0;
  for (size_t e = 0; e < scores.size(); ++e)
    highest = in[e] ? std::max(highest, scores[e]) : highest;
  for (size_t e = 0; e < scores.size(); ++e) {
    if (scoring == RouteScoring::Softmax)
      sum += scores[e] = in[e] ? std::exp(scores[e] - highest) : 0;
    else if (scoring == RouteScoring::Sigmoid)
      scores[e] = 1 / (1 + std::exp(-scores[e]));
  }
  if (scoring == RouteScoring::Softmax)
    for (double &score : scores)
      score /= sum;
}

/// Takes experts of all but the best groups out of `keys`; returns the margin of that choice.
double keepBestGroups(const RouteConfig &c, std::vector<double> &keys) {
  const uint32_t size = c.experts / c.groups;
  std::vector<double> groupScore(c.groups, never);
  for (uint32_t g = 0; g < c.groups; ++g) {
    std::vector<double> best(keys.begin() + g * size, keys.begin() + (g + 1) * size);
    std::sort(best.rbegin(), best.rend());
    for (uint32_t i = 0; i < c.groupTop && best[i] > never; ++i)
      groupScore[g] = (i == 0 ? 0 : groupScore[g]) + best[i];
  }
  std::vector<uint32_t> order(c.groups);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return groupScore[a] > groupScore[b] || (groupScore[a] == groupScore[b] && a < b);
  });
  for (uint32_t i = c.groupsPicked; i < c.groups; ++i)
    std::fill_n(keys.begin() + order[i] * size, size, never);
  return c.groupsPicked < c.groups ? groupScore[order[c.groupsPicked - 1]] - groupScore[order[c.groupsPicked]]
                                   : std::numeric_limits<double>::infinity();
}

} // namespace

ReferenceSlots referenceSlots(const std::vector<int32_t> &ids, uint32_t experts) {
  ReferenceSlots slots;
  slots.expertBegin.assign(experts + 1, 0);
  slots.slotOfPair.assign(ids.size(), -1);
  for (uint32_t expert = 0; expert < experts; ++expert) {
    for (size_t pair = 0; pair < ids.size(); ++pair)
      if (ids[pair] == static_cast<int32_t>(expert)) {
        slots.slotOfPair[pair] = static_cast<int32_t>(slots.slotPair.size());
        slots.slotPair.push_back(static_cast<int32_t>(pair));
      }
    slots.expertBegin[expert + 1] = static_cast<int32_t>(slots.slotPair.size());
  }
  return slots;
}

ReferenceLayer referenceLayer(const LayerInputs &inputs, const ReferenceSlots &slots) {
  const auto [T, H, I, E, K] = inputs.shape;
  const std::vector<double> hidden = valuesOf(inputs.hidden, inputs.bf16), gate = valuesOf(inputs.gate, inputs.bf16),
                            up = valuesOf(inputs.up, inputs.bf16), down = valuesOf(inputs.down, inputs.bf16);
  ReferenceLayer layer;
  layer.activated.resize(slots.slotPair.size() * I);
  layer.output.assign(static_cast<size_t>(T) * H, 0);
  for (size_t slot = 0; slot < slots.slotPair.size(); ++slot) {
    const size_t pair = static_cast<size_t>(slots.slotPair[slot]), token = pair / K;
    const size_t expert = static_cast<size_t>(inputs.ids[pair]);
    double *row = &layer.activated[slot * I];
    for (uint32_t i = 0; i < I; ++i) {
      const double g = dot(&hidden[token * H], &gate[(expert * I + i) * H], H);
      row[i] = g / (1 + std::exp(-g)) * dot(&hidden[token * H], &up[(expert * I + i) * H], H);
    }
    for (uint32_t h = 0; h < H; ++h)
      layer.output[token * H + h] += inputs.weights[pair] * dot(row, &down[(expert * H + h) * I], I);
  }
  return layer;
}

ReferenceRoute referenceRoute(const RouteConfig &c, const float *logits, const float *correction, double epsilon,
                              double scale) {
  std::vector<double> scores(logits, logits + c.experts), keys(c.experts);
  std::vector<bool> in(c.experts);
  for (uint32_t e = 0; e < c.experts; ++e)
    in[e] = std::isfinite(logits[e]);
  if (std::none_of(in.begin(), in.end(), [](bool b) { return b; })) {
    in.assign(c.experts, true);
    std::fill(scores.begin(), scores.end(), 0.0);
  }
  scoreAll(c.before, scores, in);
  for (uint32_t e = 0; e < c.experts; ++e)
    keys[e] = in[e] ? scores[e] + (c.correctionBias ? correction[e] : 0.0) : never;
  ReferenceRoute route;
  route.margin = c.groups > 1 ? keepBestGroups(c, keys) : std::numeric_limits<double>::infinity();

  std::vector<int32_t> order(c.experts);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return keys[a] > keys[b] || (keys[a] == keys[b] && a < b); });
  std::vector<double> chosen;
  for (uint32_t k = 0; k < c.topK; ++k) {
    const bool any = keys[order[k]] > never;
    route.ids.push_back(any ? order[k] : -1);
    if (any)
      chosen.push_back(scores[order[k]]);
    if (any && k + 1 < c.experts)
      route.margin = std::min(route.margin, keys[order[k]] - keys[order[k + 1]]);
  }
  scoreAll(c.after, chosen, std::vector<bool>(chosen.size(), true));
  double sum = epsilon;
  for (double weight : chosen)
    sum += weight;
  for (uint32_t k = 0; k < c.topK; ++k)
    route.weights.push_back(k < chosen.size() ? chosen[k] / (c.renormalise ? sum : 1) * scale : 0);
  return route;
}

} // namespace moec::bench
