// From expert ids and weights to the layer's output.
#include "ir/reference/Ops.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

namespace moec::reference {

namespace {

constexpr int32_t padding = -1;

/// Masked logits (Ops.h) weigh nothing.
double weightOf(double value) { return value == -std::numeric_limits<double>::infinity() ? 0 : value; }

Status checkIds(const IdTensor &ids, int64_t experts) {
  if (Status status = expectShape("ids", ids, {anySize, anySize}); !status.ok())
    return status;
  for (size_t pair = 0; pair < ids.values.size(); ++pair)
    if (ids.values[pair] < padding || ids.values[pair] >= experts)
      return makeError(Code::InvalidArgument, "ids[{}, {}] is {}, expected -1 or one of {} experts",
                       pair / ids.rowSize(), pair % ids.rowSize(), ids.values[pair], experts);
  return {};
}

/// `lead` is {E} for experts and empty for a shared network. Returns I.
Result<int64_t> checkFfn(const FfnWeights &weights, Shape lead, int64_t hidden) {
  auto shaped = [&](int64_t rows, int64_t columns) {
    Shape shape = lead;
    shape.insert(shape.end(), {rows, columns});
    return shape;
  };
  if (Status status = expectShape("gate", weights.gate, shaped(anySize, hidden)); !status.ok())
    return status;
  int64_t intermediate = weights.gate.shape[lead.size()];
  if (Status status = expectShape("up", weights.up, shaped(intermediate, hidden)); !status.ok())
    return status;
  if (Status status = expectShape("down", weights.down, shaped(hidden, intermediate)); !status.ok())
    return status;
  for (auto [name, bias, columns] :
       {std::tuple("gate_bias", weights.gateBias, intermediate), std::tuple("up_bias", weights.upBias, intermediate),
        std::tuple("down_bias", weights.downBias, hidden)}) {
    Shape shape = lead;
    shape.push_back(columns);
    if (bias)
      if (Status status = expectShape(name, *bias, shape); !status.ok())
        return status;
  }
  return intermediate;
}

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Row `row` of all experts' rows of `matrix`, times x, plus that row's bias.
double product(const Tensor &matrix, const Tensor *bias, int64_t row, std::span<const double> x) {
  return dot(matrix.row(row), x) + (bias ? bias->values[static_cast<size_t>(row)] : 0);
}

/// The network of one expert (0 for a shared one) on one row.
std::vector<double> ffnRow(std::span<const double> given, const FfnWeights &weights, int64_t expert,
                           int64_t intermediate, const Activation &activation) {
  std::vector<double> x(given.begin(), given.end()), activated;
  if (weights.roundRow)
    (*weights.roundRow)(x);
  for (int64_t row = expert * intermediate; row < (expert + 1) * intermediate; ++row)
    activated.push_back(
        activation(product(weights.gate, weights.gateBias, row, x), product(weights.up, weights.upBias, row, x)));
  if (weights.roundRow)
    (*weights.roundRow)(activated);
  std::vector<double> result;
  auto hidden = static_cast<int64_t>(x.size());
  for (int64_t row = expert * hidden; row < (expert + 1) * hidden; ++row)
    result.push_back(product(weights.down, weights.downBias, row, activated));
  return result;
}

void addWeighted(std::span<double> sum, double weight, std::span<const double> row) {
  for (size_t column = 0; column < sum.size(); ++column)
    sum[column] += weight * row[column];
}

std::vector<double> scaled(std::span<const double> row, double factor) {
  std::vector<double> result(row.begin(), row.end());
  for (double &value : result)
    value *= factor;
  return result;
}

/// The pairs of one expert that it computes, in token order.
std::vector<size_t> keptPairs(const IdTensor &ids, int32_t expert, const Tensor *weights, const DispatchSpec &spec) {
  std::vector<size_t> pairs;
  for (size_t pair = 0; pair < ids.values.size(); ++pair)
    if (ids.values[pair] == expert)
      pairs.push_back(pair);
  if (!spec.capacity || pairs.size() <= static_cast<size_t>(*spec.capacity))
    return pairs;
  if (spec.drop == Drop::Score) {
    // NaN is below every weight, so that the order is a total one.
    auto key = [&](size_t pair) {
      double weight = weights->values[pair];
      return std::isnan(weight) ? -std::numeric_limits<double>::infinity() : weight;
    };
    std::sort(pairs.begin(), pairs.end(),
              [&](size_t a, size_t b) { return std::tuple(-key(a), a) < std::tuple(-key(b), b); });
  }
  pairs.resize(static_cast<size_t>(*spec.capacity));
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

Status checkDispatch(const Tensor &tokens, const IdTensor &ids, const Tensor *weights, const DispatchSpec &spec) {
  if (Status status = checkIds(ids, spec.experts); !status.ok())
    return status;
  if (Status status = expectShape("tokens", tokens, {ids.shape[0], anySize}); !status.ok())
    return status;
  if (spec.capacity && *spec.capacity < 1)
    return makeError(Code::InvalidArgument, "capacity is {}, expected at least 1", *spec.capacity);
  if (!weights && spec.capacity && spec.drop == Drop::Score)
    return makeError(Code::InvalidArgument, "dropping by score needs weights");
  if (!weights)
    return spec.weightOnInput ? makeError(Code::InvalidArgument, "weights on the experts' input are missing")
                              : Status();
  return expectShape("weights", *weights, ids.shape);
}

Status checkSlots(const IdTensor &ids, const IdTensor &slot, int64_t rows) {
  if (Status status = expectShape("slot", slot, ids.shape); !status.ok())
    return status;
  for (size_t pair = 0; pair < slot.values.size(); ++pair)
    if (slot.values[pair] < padding || slot.values[pair] >= rows ||
        (slot.values[pair] != padding && ids.values[pair] == padding))
      return makeError(Code::InvalidArgument, "slot[{}, {}] is {} of {} rows, for expert {}", pair / ids.rowSize(),
                       pair % ids.rowSize(), slot.values[pair], rows, ids.values[pair]);
  return {};
}

} // namespace

Result<IdTensor> countPairs(const IdTensor &ids, int64_t experts) {
  if (Status status = checkIds(ids, experts); !status.ok())
    return status;
  IdTensor counts = IdTensor::filled({experts}, 0);
  for (int32_t expert : ids.values)
    if (expert != padding)
      ++counts.values[expert];
  return counts;
}

Result<Dispatched> dispatch(const Tensor &tokens, const IdTensor &ids, const Tensor *weights,
                            const DispatchSpec &spec) {
  if (Status status = checkDispatch(tokens, ids, weights, spec); !status.ok())
    return status;
  Dispatched result{{}, IdTensor::filled(ids.shape, padding)};
  std::vector<std::vector<size_t>> kept;
  size_t rows = 0;
  for (int32_t expert = 0; expert < spec.experts; ++expert) {
    kept.push_back(keptPairs(ids, expert, weights, spec));
    rows = std::max(rows, kept.back().size());
  }
  auto numRows = static_cast<int64_t>(rows);
  result.buffer = Tensor::filled({spec.experts, numRows, tokens.shape[1]}, 0);
  for (int64_t expert = 0; expert < spec.experts; ++expert)
    for (size_t slot = 0; slot < kept[expert].size(); ++slot) {
      size_t pair = kept[expert][slot];
      std::span<const double> token = tokens.row(static_cast<int64_t>(pair / ids.rowSize()));
      std::span<double> row = result.buffer.row(expert * numRows + static_cast<int64_t>(slot));
      const double factor = spec.weightOnInput ? weightOf(weights->values[pair]) : 1;
      std::ranges::copy(scaled(token, factor), row.begin());
      result.slot.values[pair] = static_cast<int32_t>(slot);
    }
  return result;
}

Result<Tensor> expertFfn(const Tensor &buffer, const FfnWeights &weights, const Activation &activation) {
  if (Status status = expectShape("buffer", buffer, {anySize, anySize, anySize}); !status.ok())
    return status;
  int64_t experts = buffer.shape[0], rows = buffer.shape[1];
  Result<int64_t> intermediate = checkFfn(weights, {experts}, buffer.shape[2]);
  if (!intermediate)
    return intermediate.status();
  Tensor result = buffer;
  for (int64_t row = 0; row < experts * rows; ++row) {
    std::vector<double> y = ffnRow(buffer.row(row), weights, row / rows, *intermediate, activation);
    std::copy(y.begin(), y.end(), result.row(row).begin());
  }
  return result;
}

Result<Tensor> sharedFfn(const Tensor &hidden, const FfnWeights &weights, const Tensor *router,
                         const Activation &activation) {
  if (Status status = expectShape("hidden", hidden, {anySize, anySize}); !status.ok())
    return status;
  Result<int64_t> intermediate = checkFfn(weights, {}, hidden.shape[1]);
  if (!intermediate)
    return intermediate.status();
  if (router)
    if (Status status = expectShape("router", *router, {1, hidden.shape[1]}); !status.ok())
      return status;
  Tensor result = Tensor::filled(hidden.shape, 0);
  for (int64_t token = 0; token < hidden.shape[0]; ++token) {
    std::span<const double> x = hidden.row(token);
    double factor = router ? 1 / (1 + std::exp(-dot(x, router->row(0)))) : 1;
    addWeighted(result.row(token), factor, ffnRow(x, weights, 0, *intermediate, activation));
  }
  return result;
}

Result<Tensor> combine(const Tensor &expertOutput, const IdTensor &ids, const IdTensor &slot, const Tensor *weights,
                       const Tensor *init) {
  if (Status status = expectShape("expert_output", expertOutput, {anySize, anySize, anySize}); !status.ok())
    return status;
  int64_t rows = expertOutput.shape[1];
  if (Status status = checkIds(ids, expertOutput.shape[0]); !status.ok())
    return status;
  if (Status status = checkSlots(ids, slot, rows); !status.ok())
    return status;
  if (weights)
    if (Status status = expectShape("weights", *weights, ids.shape); !status.ok())
      return status;
  Shape shape{ids.shape[0], expertOutput.shape[2]};
  if (init)
    if (Status status = expectShape("init", *init, shape); !status.ok())
      return status;
  Tensor output = init ? *init : Tensor::filled(shape, 0);
  for (size_t pair = 0; pair < ids.values.size(); ++pair)
    if (slot.values[pair] != padding)
      addWeighted(output.row(static_cast<int64_t>(pair / ids.rowSize())), weights ? weightOf(weights->values[pair]) : 1,
                  expertOutput.row(ids.values[pair] * rows + slot.values[pair]));
  return output;
}

Result<GroupedResult> groupedFfn(const Tensor &hidden, const IdTensor &ids, const Tensor &weights,
                                 const FfnWeights &ffn, const Tensor *init, const Activation &activation,
                                 WeightOn weightOn) {
  if (Status status = expectShape("hidden", hidden, {anySize, anySize}); !status.ok())
    return status;
  if (Status status = expectShape("gate", ffn.gate, {anySize, anySize, anySize}); !status.ok())
    return status;
  int64_t experts = ffn.gate.shape[0];
  Result<int64_t> intermediate = checkFfn(ffn, {experts}, hidden.shape[1]);
  if (!intermediate)
    return intermediate.status();
  Result<IdTensor> counts = countPairs(ids, experts);
  if (!counts)
    return counts.status();
  if (Status status = expectShape("ids", ids, {hidden.shape[0], anySize}); !status.ok())
    return status;
  if (Status status = expectShape("weights", weights, ids.shape); !status.ok())
    return status;
  if (init)
    if (Status status = expectShape("init", *init, hidden.shape); !status.ok())
      return status;
  GroupedResult result{init ? *init : Tensor::filled(hidden.shape, 0), std::move(*counts)};
  for (size_t pair = 0; pair < ids.values.size(); ++pair) {
    if (ids.values[pair] == padding)
      continue;
    auto token = static_cast<int64_t>(pair / ids.rowSize());
    const double weight = weightOf(weights.values[pair]);
    const bool input = weightOn == WeightOn::Input;
    addWeighted(
        result.output.row(token), input ? 1 : weight,
        ffnRow(scaled(hidden.row(token), input ? weight : 1), ffn, ids.values[pair], *intermediate, activation));
  }
  return result;
}

} // namespace moec::reference
