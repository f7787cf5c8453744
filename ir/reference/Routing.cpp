// From hidden states to expert ids and weights.
#include "ir/reference/Ops.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

namespace moec::reference {

namespace {

constexpr double masked = -std::numeric_limits<double>::infinity();

double finiteOrMasked(double value) { return std::isfinite(value) ? value : masked; }

double sigmoid(double x) { return x == masked ? masked : 1 / (1 + std::exp(-x)); }

void softmaxRow(std::span<double> row) {
  double most = *std::max_element(row.begin(), row.end());
  if (most == masked)
    return;
  double sum = 0;
  for (double value : row)
    sum += std::exp(value - most);
  for (double &value : row)
    value = value == masked ? masked : std::exp(value - most) / sum;
}

bool allMasked(std::span<const double> row) {
  return std::all_of(row.begin(), row.end(), [](double value) { return value == masked; });
}

/// Positions of the `count` highest of `keys`, highest first, the lower of equals first.
std::vector<int32_t> highest(std::span<const double> keys, int64_t count) {
  std::vector<int32_t> positions(keys.size());
  std::iota(positions.begin(), positions.end(), 0);
  std::sort(positions.begin(), positions.end(),
            [&](int32_t a, int32_t b) { return std::tuple(-keys[a], a) < std::tuple(-keys[b], b); });
  positions.resize(static_cast<size_t>(count));
  return positions;
}

double groupScore(std::span<const double> keys, int64_t top) {
  double sum = 0;
  for (int32_t position : highest(keys, top))
    sum += keys[position];
  return sum;
}

/// The experts that may be chosen, ascending: those of the best groups.
std::vector<int32_t> candidates(std::span<const double> keys, const TopKSpec &spec) {
  auto size = static_cast<int64_t>(keys.size()) / spec.groups;
  std::vector<double> scores;
  for (int64_t group = 0; group < spec.groups; ++group)
    scores.push_back(groupScore(keys.subspan(group * size, size), spec.groupTop));
  std::vector<int32_t> picked = highest(scores, spec.groupsPicked);
  std::sort(picked.begin(), picked.end());
  std::vector<int32_t> experts;
  for (int32_t group : picked)
    for (int64_t member = 0; member < size; ++member)
      experts.push_back(static_cast<int32_t>(group * size + member));
  return experts;
}

void chooseForToken(std::span<const double> scores, const Tensor *correction, const TopKSpec &spec,
                    std::span<int32_t> ids, std::span<double> weights) {
  std::vector<double> keys(scores.begin(), scores.end());
  for (size_t expert = 0; expert < keys.size(); ++expert)
    keys[expert] = finiteOrMasked(finiteOrMasked(keys[expert]) + (correction ? correction->values[expert] : 0));
  bool nothingKnown = std::none_of(scores.begin(), scores.end(), [](double value) { return std::isfinite(value); });
  if (nothingKnown) {
    std::iota(ids.begin(), ids.end(), 0);
  } else {
    std::vector<int32_t> experts = candidates(keys, spec);
    std::vector<double> theirKeys;
    for (int32_t expert : experts)
      theirKeys.push_back(keys[expert]);
    std::vector<int32_t> best = highest(theirKeys, spec.k);
    std::transform(best.begin(), best.end(), ids.begin(), [&](int32_t position) { return experts[position]; });
  }
  std::transform(ids.begin(), ids.end(), weights.begin(),
                 [&](int32_t expert) { return finiteOrMasked(scores[expert]); });
  if (allMasked(weights))
    std::fill(weights.begin(), weights.end(), 1.0 / static_cast<double>(spec.k));
}

Status checkSpec(const TopKSpec &spec, int64_t experts) {
  if (spec.k < 1 || spec.k > experts)
    return makeError(Code::InvalidArgument, "k = {} is not in 1..{}", spec.k, experts);
  if (spec.groups < 1 || experts % spec.groups != 0)
    return makeError(Code::InvalidArgument, "{} groups do not divide {} experts", spec.groups, experts);
  int64_t size = experts / spec.groups;
  if (spec.groupsPicked < 1 || spec.groupsPicked > spec.groups || spec.groupsPicked * size < spec.k)
    return makeError(Code::InvalidArgument, "{} of {} groups of {} experts picked for k = {}", spec.groupsPicked,
                     spec.groups, size, spec.k);
  if (spec.groupTop < 1 || spec.groupTop > size)
    return makeError(Code::InvalidArgument, "group_top = {} is not in 1..{}", spec.groupTop, size);
  return {};
}

void normalizeRow(std::span<double> row, double epsilon) {
  double sum = epsilon;
  for (double value : row)
    sum += value == masked ? 0 : value;
  if (sum == 0 && !allMasked(row)) {
    std::fill(row.begin(), row.end(), 1.0 / static_cast<double>(row.size()));
    return;
  }
  for (double &value : row)
    value = value == masked ? masked : value / sum;
}

} // namespace

Result<Tensor> router(const Tensor &hidden, const Tensor &weight, const Tensor *bias) {
  if (Status status = expectShape("hidden", hidden, {anySize, anySize}); !status.ok())
    return status;
  if (Status status = expectShape("weight", weight, {anySize, hidden.shape[1]}); !status.ok())
    return status;
  int64_t tokens = hidden.shape[0], experts = weight.shape[0];
  if (bias)
    if (Status status = expectShape("bias", *bias, {experts}); !status.ok())
      return status;
  Tensor logits = Tensor::filled({tokens, experts}, 0);
  for (int64_t token = 0; token < tokens; ++token)
    for (int64_t expert = 0; expert < experts; ++expert) {
      std::span<const double> x = hidden.row(token), w = weight.row(expert);
      double sum = std::inner_product(x.begin(), x.end(), w.begin(), 0.0);
      logits.row(token)[expert] = sum + (bias ? bias->values[expert] : 0);
    }
  return logits;
}

Result<Tensor> score(Scoring kind, const Tensor &logits) {
  if (Status status = expectShape("logits", logits, {anySize, anySize}); !status.ok())
    return status;
  Tensor scores = logits;
  for (double &value : scores.values)
    value = finiteOrMasked(value);
  if (kind == Scoring::Sigmoid)
    std::transform(scores.values.begin(), scores.values.end(), scores.values.begin(), sigmoid);
  else if (scores.rowSize() > 0)
    for (int64_t token = 0; token < scores.shape[0]; ++token)
      softmaxRow(scores.row(token));
  return scores;
}

Result<Chosen> topK(const Tensor &scores, const Tensor *correction, const TopKSpec &spec) {
  if (Status status = expectShape("scores", scores, {anySize, anySize}); !status.ok())
    return status;
  int64_t tokens = scores.shape[0], experts = scores.shape[1];
  if (correction)
    if (Status status = expectShape("correction", *correction, {experts}); !status.ok())
      return status;
  if (Status status = checkSpec(spec, experts); !status.ok())
    return status;
  Chosen chosen{IdTensor::filled({tokens, spec.k}, -1), Tensor::filled({tokens, spec.k}, 0)};
  for (int64_t token = 0; token < tokens; ++token)
    chooseForToken(scores.row(token), correction, spec, chosen.ids.row(token), chosen.weights.row(token));
  return chosen;
}

Result<Tensor> normalize(const Tensor &weights, double epsilon) {
  if (Status status = expectShape("weights", weights, {anySize, anySize}); !status.ok())
    return status;
  Tensor result = weights;
  for (int64_t token = 0; token < result.shape[0]; ++token)
    normalizeRow(result.row(token), epsilon);
  return result;
}

Result<Tensor> scale(const Tensor &weights, double factor) {
  if (Status status = expectShape("weights", weights, {anySize, anySize}); !status.ok())
    return status;
  Tensor result = weights;
  for (double &value : result.values)
    value = value == masked ? masked : value * factor;
  return result;
}

Result<Chosen> routeLogits(const Tensor &logits, const Tensor *correction, const RouteSpec &spec) {
  Result<Tensor> scores = spec.before ? score(*spec.before, logits) : Result<Tensor>(logits);
  if (!scores)
    return scores.status();
  Result<Chosen> chosen = topK(*scores, correction, spec.topK);
  if (!chosen)
    return chosen.status();
  // The chosen weights are [T, K] now, which is all that these three can refuse.
  if (spec.after)
    chosen->weights = *score(*spec.after, chosen->weights);
  if (spec.epsilon)
    chosen->weights = *normalize(chosen->weights, *spec.epsilon);
  chosen->weights = *scale(chosen->weights, spec.scale);
  std::replace(chosen->weights.values.begin(), chosen->weights.values.end(), masked, 0.0);
  return chosen;
}

Result<Chosen> route(const Tensor &hidden, const Tensor &weight, const Tensor *bias, const Tensor *correction,
                     const RouteSpec &spec) {
  Result<Tensor> logits = router(hidden, weight, bias);
  if (!logits)
    return logits.status();
  return routeLogits(*logits, correction, spec);
}

} // namespace moec::reference
