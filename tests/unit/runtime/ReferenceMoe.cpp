#include "tests/unit/runtime/ReferenceMoe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace moec::test {
namespace {

constexpr double minusInfinity = -std::numeric_limits<double>::infinity();

/// `bias`: [rows], or empty for none.
template <typename T>
std::vector<double> times(const std::vector<float> &matrix, const T *x, size_t rows, size_t columns,
                          const std::vector<float> &bias = {}) {
  std::vector<double> y(bias.begin(), bias.end());
  y.resize(rows);
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      y[r] += double{matrix[r * columns + c]} * x[c];
  return y;
}

std::vector<double> score(Scoring scoring, std::vector<double> values) {
  if (scoring == Scoring::Sigmoid)
    for (double &value : values)
      value = 1 / (1 + std::exp(-value));
  if (scoring == Scoring::Softmax) {
    double most = *std::max_element(values.begin(), values.end()), sum = 0;
    for (double &value : values)
      sum += value = std::exp(value - most);
    for (double &value : values)
      value /= sum;
  }
  return values;
}

/// Indices by descending key, the lower index first among equals.
std::vector<int32_t> ranked(const std::vector<double> &keys) {
  std::vector<int32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int32_t a, int32_t b) { return keys[a] != keys[b] ? keys[a] > keys[b] : a < b; });
  return order;
}

void maskGroups(const RouterSpec &router, std::vector<double> &keys) {
  const size_t size = keys.size() / router.groups;
  std::vector<double> groupScores;
  for (size_t g = 0; g < router.groups; ++g) {
    std::vector<double> members(keys.begin() + g * size, keys.begin() + (g + 1) * size);
    std::sort(members.rbegin(), members.rend());
    groupScores.push_back(std::accumulate(members.begin(), members.begin() + router.groupTop, 0.0));
  }
  std::vector<int32_t> order = ranked(groupScores);
  for (size_t n = router.groupsPicked; n < router.groups; ++n)
    std::fill(keys.begin() + order[n] * size, keys.begin() + (order[n] + 1) * size, minusInfinity);
}

struct Ffn {
  std::vector<float> gate, up, down, gateBias, upBias, downBias; // no bias is empty
};

template <typename T>
void addFfn(const Ffn &ffn, const T *x, size_t hidden, size_t intermediate, double weight, double *output) {
  std::vector<double> g = times(ffn.gate, x, intermediate, hidden, ffn.gateBias),
                      u = times(ffn.up, x, intermediate, hidden, ffn.upBias);
  for (size_t i = 0; i < intermediate; ++i)
    g[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
  for (size_t h = 0; h < hidden; ++h) {
    double y = ffn.downBias.empty() ? 0 : ffn.downBias[h];
    for (size_t i = 0; i < intermediate; ++i)
      y += ffn.down[h * intermediate + i] * g[i];
    output[h] += weight * y;
  }
}

} // namespace

ReferenceRouting referenceRoute(const LayerDescription &layer, const MadeUpWeights &weights,
                                const std::vector<float> &hidden) {
  const LayerShape &shape = layer.shape;
  const RouterSpec &router = layer.router;
  const std::vector<float> matrix = weights.values(layer.weights.router, 0);
  ReferenceRouting routing;
  for (size_t t = 0; t * shape.hidden < hidden.size(); ++t) {
    std::vector<double> logits = times(matrix, &hidden[t * shape.hidden], shape.experts, shape.hidden);
    for (size_t e = 0; router.routerBias && e < shape.experts; ++e)
      logits[e] += weights.values(layer.weights.routerBias, 0)[e];
    if (std::none_of(logits.begin(), logits.end(), [](double l) { return std::isfinite(l); })) {
      for (uint32_t k = 0; k < shape.topK; ++k) {
        routing.ids.push_back(static_cast<int32_t>(k));
        routing.weights.push_back(router.scale / shape.topK);
      }
      continue;
    }
    std::vector<double> scores = score(router.before, logits), keys = scores;
    for (size_t e = 0; router.correctionBias && e < shape.experts; ++e)
      keys[e] += weights.values(layer.weights.correctionBias, 0)[e];
    maskGroups(router, keys);
    std::vector<int32_t> order = ranked(keys);
    std::vector<double> chosen;
    for (uint32_t k = 0; k < shape.topK; ++k)
      chosen.push_back(scores[order[k]]);
    chosen = score(router.after, chosen);
    double sum = std::accumulate(chosen.begin(), chosen.end(), router.epsilon);
    for (uint32_t k = 0; k < shape.topK; ++k) {
      routing.ids.push_back(order[k]);
      routing.weights.push_back(chosen[k] * router.scale / (router.renormalise ? sum : 1));
    }
  }
  return routing;
}

std::vector<double> referenceMoe(const LayerDescription &layer, const MadeUpWeights &weights,
                                 const std::vector<float> &hidden, const ReferenceRouting &routing) {
  const LayerShape &shape = layer.shape;
  const LayerWeights &refs = layer.weights;
  std::vector<double> output(hidden.size(), 0);
  const size_t tokens = hidden.size() / shape.hidden;
  for (uint32_t e = 0; e < shape.experts; ++e) {
    Ffn ffn{weights.values(refs.gate, e), weights.values(refs.up, e), weights.values(refs.down, e), {}, {}, {}};
    if (shape.expertBias) {
      ffn.gateBias = weights.values(refs.gateBias, e);
      ffn.upBias = weights.values(refs.upBias, e);
      ffn.downBias = weights.values(refs.downBias, e);
    }
    for (size_t pair = 0; pair < routing.ids.size(); ++pair)
      if (routing.ids[pair] == static_cast<int32_t>(e)) {
        size_t at = pair / shape.topK * shape.hidden;
        std::vector<double> x(hidden.begin() + static_cast<std::ptrdiff_t>(at),
                              hidden.begin() + static_cast<std::ptrdiff_t>(at + shape.hidden));
        for (double &value : x)
          value *= shape.weightOnInput ? routing.weights[pair] : 1;
        addFfn(ffn, x.data(), shape.hidden, shape.intermediate, shape.weightOnInput ? 1 : routing.weights[pair],
               &output[at]);
      }
  }
  for (size_t t = 0; shape.sharedIntermediate && t < tokens; ++t) {
    const float *x = &hidden[t * shape.hidden];
    double weight = 1;
    if (shape.sharedGate)
      weight = 1 / (1 + std::exp(-times(weights.values(refs.sharedRouter, 0), x, 1, shape.hidden)[0]));
    addFfn({weights.values(refs.sharedGate, 0),
            weights.values(refs.sharedUp, 0),
            weights.values(refs.sharedDown, 0),
            {},
            {},
            {}},
           x, shape.hidden, shape.sharedIntermediate, weight, &output[t * shape.hidden]);
  }
  return output;
}

double relativeError(const std::vector<float> &a, const std::vector<double> &b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  double error = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

} // namespace moec::test
