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

double siluGate(double gate, double up) { return gate / (1 + std::exp(-gate)) * up; }

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

/// How far a choice was from the next; one between equals is defined (the lower one), so nothing can go wrong.
double gap(double better, double worse) {
  return better == worse ? std::numeric_limits<double>::infinity() : better - worse;
}

/// Takes experts of all but the best groups out of `picked`; returns the margin of that choice.
double keepBestGroups(const RouteConfig &c, const std::vector<double> &keys, std::vector<bool> &picked) {
  const uint32_t size = c.experts / c.groups;
  std::vector<double> groupScore(c.groups, 0);
  for (uint32_t g = 0; g < c.groups; ++g) {
    std::vector<double> best(keys.begin() + g * size, keys.begin() + (g + 1) * size);
    std::sort(best.rbegin(), best.rend());
    for (uint32_t i = 0; i < c.groupTop; ++i)
      groupScore[g] += best[i];
  }
  std::vector<uint32_t> order(c.groups);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return groupScore[a] > groupScore[b] || (groupScore[a] == groupScore[b] && a < b);
  });
  for (uint32_t i = c.groupsPicked; i < c.groups; ++i)
    for (uint32_t e = 0; e < size; ++e)
      picked[order[i] * size + e] = false;
  return c.groupsPicked < c.groups ? gap(groupScore[order[c.groupsPicked - 1]], groupScore[order[c.groupsPicked]])
                                   : std::numeric_limits<double>::infinity();
}

/// From the scores of the chosen to their weights. Where nothing tells them apart they weigh alike.
void finishWeights(const RouteConfig &c, std::vector<double> &weights, double epsilon, double scale) {
  const std::vector<double> alike(weights.size(), 1.0 / static_cast<double>(weights.size()));
  if (c.after == RouteScoring::Softmax && *std::max_element(weights.begin(), weights.end()) == never)
    weights = alike;
  else
    scoreAll(c.after, weights, std::vector<bool>(weights.size(), true));
  for (double &weight : weights)
    weight = weight == never ? 0 : weight;
  if (c.renormalise) {
    double sum = epsilon;
    for (double weight : weights)
      sum += weight;
    if (sum == 0) {
      weights = alike;
      sum = 1;
    }
    scale /= sum;
  }
  for (double &weight : weights)
    weight *= scale;
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

ReferenceTiles referenceTiles(const std::vector<int32_t> &rows, const std::vector<int32_t> &firstSlots,
                              uint32_t tileTokens, uint32_t mixRows, const std::vector<int32_t> &planned) {
  std::vector<int32_t> order = planned;
  if (planned.empty()) {
    order.resize(rows.size());
    std::iota(order.begin(), order.end(), 0);
  }
  const auto rowsOf = [&](int32_t expert) { return static_cast<uint32_t>(rows[static_cast<size_t>(expert)]); };
  const auto tilesOf = [&](int32_t expert) { return (rowsOf(expert) + tileTokens - 1) / tileTokens; };
  uint32_t severalTiles = 0, severalRows = 0, single = 0;
  for (int32_t expert : order) {
    const uint32_t tiles = tilesOf(expert);
    single += tiles == 1;
    severalTiles += tiles > 1 ? tiles : 0;
    severalRows += tiles > 1 ? rowsOf(expert) : 0;
  }
  const bool mixed = single > 0 && severalTiles > 0 && severalRows >= uint64_t{mixRows} * single;
  if (mixed)
    std::ranges::stable_partition(order, [&](int32_t expert) { return tilesOf(expert) > 1; });
  ReferenceTiles tables;
  for (int32_t expert : order) {
    const uint32_t first = static_cast<uint32_t>(firstSlots[static_cast<size_t>(expert)]);
    tables.tiles.insert(
        tables.tiles.end(), tilesOf(expert),
        {static_cast<uint32_t>(expert), static_cast<uint32_t>(tables.tiles.size()), first, first + rowsOf(expert)});
  }
  tables.head.tokenTiles = static_cast<uint32_t>(tables.tiles.size());
  if (mixed) {
    tables.head.severalTiles = severalTiles;
    tables.head.fraction = static_cast<uint32_t>((uint64_t{severalTiles} << 32) / tables.tiles.size());
  }
  return tables;
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
    const double taken = inputs.weightOnInput ? inputs.weights[pair] : 1,
                 given = inputs.weightOnInput ? 1 : inputs.weights[pair];
    double *row = &layer.activated[slot * I];
    for (uint32_t i = 0; i < I; ++i) {
      row[i] = siluGate(taken * dot(&hidden[token * H], &gate[(expert * I + i) * H], H),
                        taken * dot(&hidden[token * H], &up[(expert * I + i) * H], H));
    }
    for (uint32_t h = 0; h < H; ++h)
      layer.output[token * H + h] += given * dot(row, &down[(expert * H + h) * I], I);
  }
  return layer;
}

std::vector<double> referenceLogits(const LayerInputs &inputs, const std::vector<double> &weights) {
  const uint32_t H = inputs.shape.hidden;
  const size_t rows = weights.size() / H;
  const std::vector<double> hidden = valuesOf(inputs.hidden, inputs.bf16);
  std::vector<double> logits(inputs.shape.tokens * rows);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = dot(&hidden[i / rows * H], &weights[i % rows * H], H);
  return logits;
}

void addReferenceShared(const LayerInputs &inputs, const std::vector<uint16_t> &gateWeight,
                        const std::vector<uint16_t> &upWeight, const std::vector<uint16_t> &downWeight,
                        const std::vector<double> &gate, std::vector<double> &output) {
  const uint32_t H = inputs.shape.hidden, I = static_cast<uint32_t>(gateWeight.size() / H);
  const std::vector<double> hidden = valuesOf(inputs.hidden, inputs.bf16), up = valuesOf(upWeight, inputs.bf16),
                            gateRows = valuesOf(gateWeight, inputs.bf16), down = valuesOf(downWeight, inputs.bf16);
  std::vector<double> row(I);
  for (size_t token = 0; token < inputs.shape.tokens; ++token) {
    for (uint32_t i = 0; i < I; ++i)
      row[i] = siluGate(dot(&hidden[token * H], &gateRows[size_t{i} * H], H),
                        dot(&hidden[token * H], &up[size_t{i} * H], H));
    for (uint32_t h = 0; h < H; ++h)
      output[token * H + h] += gate[token] * dot(row.data(), &down[size_t{h} * I], I);
  }
}

ReferenceRoute referenceRoute(const RouteConfig &c, const float *logits, const float *correction, double epsilon,
                              double scale) {
  std::vector<double> scores(logits, logits + c.experts), keys(c.experts);
  std::vector<bool> finite(c.experts), picked(c.experts, true);
  for (uint32_t e = 0; e < c.experts; ++e) {
    finite[e] = std::isfinite(logits[e]);
    scores[e] = finite[e] ? scores[e] : never;
  }
  ReferenceRoute route;
  route.margin = std::numeric_limits<double>::infinity();
  route.ids.resize(c.topK);
  route.weights.assign(c.topK, scale / c.topK);
  std::iota(route.ids.begin(), route.ids.end(), 0);
  if (std::none_of(finite.begin(), finite.end(), [](bool b) { return b; }))
    return route;
  scoreAll(c.before, scores, finite);
  for (uint32_t e = 0; e < c.experts; ++e)
    keys[e] = finite[e] ? scores[e] + (c.correctionBias ? correction[e] : 0.0) : never;
  if (c.groups > 1)
    route.margin = keepBestGroups(c, keys, picked);

  std::vector<int32_t> order;
  for (uint32_t e = 0; e < c.experts; ++e)
    if (picked[e])
      order.push_back(static_cast<int32_t>(e));
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return keys[a] > keys[b] || (keys[a] == keys[b] && a < b); });
  std::vector<double> chosen;
  for (uint32_t k = 0; k < c.topK; ++k) {
    route.ids[k] = order[k];
    chosen.push_back(scores[order[k]]);
    if (k + 1 < order.size())
      route.margin = std::min(route.margin, gap(keys[order[k]], keys[order[k + 1]]));
  }
  finishWeights(c, chosen, epsilon, scale);
  route.weights = chosen;
  return route;
}

} // namespace moec::bench
