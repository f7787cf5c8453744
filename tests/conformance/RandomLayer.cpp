#include "tests/conformance/RandomLayer.h"

#include "compiler/import/ModelText.h"
#include "runtime/weights/Convert.h"
#include "runtime/weights/QuantiseE4M3.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace moec::conformance {
namespace {

using Random = std::mt19937_64;
using importer::Activation;

uint32_t pick(Random &random, uint32_t least, uint32_t most) {
  return std::uniform_int_distribution<uint32_t>(least, most)(random);
}
bool chance(Random &random, double share) { return std::bernoulli_distribution(share)(random); }

uint32_t divisorOf(Random &random, uint32_t number) {
  std::vector<uint32_t> divisors;
  for (uint32_t candidate = 1; candidate <= number; ++candidate)
    if (number % candidate == 0)
      divisors.push_back(candidate);
  return divisors[pick(random, 0, static_cast<uint32_t>(divisors.size()) - 1)];
}

RouterSpec makeRouter(Random &random, const LayerShape &shape) {
  RouterSpec router;
  router.before = chance(random, 0.25) ? Scoring::None : chance(random, 0.5) ? Scoring::Softmax : Scoring::Sigmoid;
  router.after = router.before == Scoring::None ? Scoring::Softmax : Scoring::None;
  router.correctionBias = chance(random, 0.3);
  if (chance(random, 0.4)) {
    router.groups = divisorOf(random, shape.experts);
    uint32_t size = shape.experts / router.groups;
    router.groupsPicked = pick(random, (shape.topK + size - 1) / size, router.groups);
    router.groupTop = pick(random, 1, size);
  }
  router.renormalise = chance(random, 0.5);
  router.epsilon = router.renormalise && chance(random, 0.3) ? 1e-20 : 0;
  router.scale = chance(random, 0.3) ? 2.5 : 1;
  return router;
}

/// Rounds to what `dtype` can hold, so that both sides start from the same numbers.
double representable(double value, DType dtype) {
  auto single = static_cast<float>(value);
  return dtype == DType::BF16  ? bf16ToF32(f32ToBf16(single))
         : dtype == DType::F16 ? f16ToF32(f32ToF16(single))
                               : single;
}

void routeAsCaller(RandomLayer &layer, Random &random) {
  const LayerShape &shape = layer.spec.shape;
  auto rows = static_cast<int64_t>(layer.tokens), columns = static_cast<int64_t>(shape.topK);
  layer.ids = reference::IdTensor::filled({rows, columns}, -1);
  layer.routeWeights = reference::Tensor::filled({rows, columns}, 0);
  std::vector<int32_t> experts(shape.experts);
  std::iota(experts.begin(), experts.end(), 0);
  std::uniform_real_distribution<double> weight(-0.5, 1.5);
  for (int64_t token = 0; token < rows; ++token) {
    std::shuffle(experts.begin(), experts.end(), random);
    if (layer.onlyExpert)
      std::iter_swap(experts.begin(),
                     std::find(experts.begin(), experts.end(), static_cast<int32_t>(*layer.onlyExpert)));
    for (int64_t k = 0; k < columns; ++k) {
      layer.routeWeights.row(token)[k] = static_cast<float>(weight(random));
      if (!chance(random, layer.padding))
        layer.ids.row(token)[k] = experts[k];
    }
  }
}

/// Biases of experts and router, and gpt-oss's activation, whose limit is low enough to be met. Drawn apart, so that
/// the rest of a seed's layer is what it was without them.
void addBiases(importer::ModelSpec &spec, uint64_t seed) {
  Random random(seed * 6007 + 11);
  spec.shape.expertBias = chance(random, 0.35);
  spec.router.routerBias = chance(random, 0.25);
  if (chance(random, 0.2)) {
    spec.activation = Activation::ClampedSwiglu;
    spec.clamped.limit = 1.5;
  }
}

/// Weights on the experts' input, drawn apart as biases are; with Llama-4's sigmoid of the chosen logits now and then.
void putWeights(importer::ModelSpec &spec, uint64_t seed) {
  Random random(seed * 7013 + 23);
  spec.shape.weightOnInput = chance(random, 0.25);
  if (spec.router.after != Scoring::None && chance(random, 0.5))
    spec.router.after = Scoring::Sigmoid;
}

/// Says of some layers that their checkpoint is e4m3. Many of them become ones that kernels of e4m3 take, with more
/// than one block of scales now and then; where there are no such kernels, nothing else differs.
void markStored(importer::ModelSpec &spec, uint64_t seed) {
  Random random(seed * 8009 + 31);
  for (std::vector<uint32_t> *marked : {&spec.e4m3Experts, &spec.e4m3Shared})
    if (chance(random, 0.2))
      *marked = spec.layers;
  if (spec.e4m3Experts.empty() || chance(random, 0.3))
    return;
  spec.shape.hidden = 16 * pick(random, 1, 18);
  spec.shape.intermediate = 16 * pick(random, 1, 12);
  spec.shape.dtype = DType::BF16;
  spec.shape.expertBias = spec.shape.weightOnInput = false;
}

/// Gives some layers a shared expert that looks like a routed one, stored as those are: GPUs compute it with them.
void likenShared(importer::ModelSpec &spec, uint64_t seed) {
  Random random(seed * 9001 + 41);
  if (!chance(random, 0.25))
    return;
  spec.shape.sharedIntermediate = spec.shape.intermediate;
  spec.shape.sharedGate = chance(random, 0.5);
  spec.shape.expertBias = spec.shape.weightOnInput = false;
  spec.e4m3Shared = spec.e4m3Experts;
}

/// A row as an e4m3 kernel multiplies it: bf16, then quantised with a scale for each 128 elements.
void quantiseRow(std::span<double> row) {
  std::vector<float> values(row.size());
  std::ranges::transform(row, values.begin(),
                         [](double value) { return static_cast<float>(representable(value, DType::BF16)); });
  roundThroughE4M3(values, values.size());
  std::ranges::copy(values, row.begin());
}

double activate(Activation activation, const importer::ClampedSwigluSpec &clamped, double gate, double up) {
  switch (activation) {
  case Activation::Silu: return gate / (1 + std::exp(-gate)) * up;
  case Activation::Gelu: return gate * (1 + std::erf(gate / std::sqrt(2.0))) / 2 * up;
  case Activation::GeluTanh:
    return gate / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (gate + 0.044715 * gate * gate * gate))) *
           up;
  case Activation::GeluQuick: return gate / (1 + std::exp(-1.702 * gate)) * up;
  case Activation::Relu: return std::max(gate, 0.0) * up;
  case Activation::ClampedSwiglu: {
    const double g = std::min(gate, clamped.limit), u = std::clamp(up, -clamped.limit, clamped.limit);
    return g / (1 + std::exp(-clamped.alpha * g)) * (u + 1);
  }
  }
  return 0;
}

/// Reads a weight of the hub layout, in float64.
struct WeightReader {
  const WeightSource &source;
  const importer::ModelSpec &spec;
  Status error;

  /// `marked`: the layers whose weights of this kind are e4m3, or null.
  reference::Tensor operator()(const std::string &name, std::vector<int64_t> shape, DType dtype,
                               const std::vector<uint32_t> *marked = nullptr) {
    const WeightFormat format = marked && !marked->empty() ? WeightFormat::BlockE4M3 : WeightFormat::Plain;
    WeightRef ref{fmt::format("model.layers.{}.{}.{}", spec.layers[0], spec.names.block, name), shape, dtype, format};
    uint32_t parts = isPerExpert(ref) ? static_cast<uint32_t>(shape[0]) : 1;
    reference::Tensor tensor{shape, {}};
    for (uint32_t part = 0; part < parts; ++part) {
      std::vector<float> values(static_cast<size_t>(*numPartElements(ref)));
      Status status = source.read(ref, part, dtype == DType::F32 ? DType::F32 : dtype, asBytes(values, dtype));
      if (!status.ok() && error.ok())
        error = status;
      for (size_t index = 0; index < values.size(); ++index)
        tensor.values.push_back(valueAt(values, dtype, index));
    }
    return tensor;
  }

private:
  static std::span<std::byte> asBytes(std::vector<float> &values, DType dtype) {
    return {reinterpret_cast<std::byte *>(values.data()), values.size() * byteSize(dtype)};
  }
  static double valueAt(const std::vector<float> &values, DType dtype, size_t index) {
    auto halves = reinterpret_cast<const uint16_t *>(values.data());
    return dtype == DType::F32    ? values[index]
           : dtype == DType::BF16 ? bf16ToF32(halves[index])
                                  : f16ToF32(halves[index]);
  }
};

reference::Scoring toReference(Scoring scoring) {
  return scoring == Scoring::Sigmoid ? reference::Scoring::Sigmoid : reference::Scoring::Softmax;
}

/// Distance of the last chosen score from the best one that was not chosen, over the largest.
std::vector<double> choiceMargins(const reference::Tensor &logits, const reference::Tensor *correction,
                                  const RouterSpec &router, uint32_t topK) {
  reference::Tensor scores =
      router.before == Scoring::None ? logits : *reference::score(toReference(router.before), logits);
  std::vector<double> margins;
  for (int64_t token = 0; token < logits.shape[0]; ++token) {
    std::vector<double> row(scores.row(token).begin(), scores.row(token).end());
    for (size_t expert = 0; correction && expert < row.size(); ++expert)
      row[expert] += correction->values[expert];
    // With groups, any two scores close to each other may decide a group: take the least distance of all.
    std::sort(row.begin(), row.end(), std::greater<>());
    double least = 1;
    for (size_t rank = 0; rank + 1 < row.size(); ++rank)
      if (router.groups > 1 || rank + 1 == topK)
        least = std::min(least, (row[rank] - row[rank + 1]) / std::max(std::abs(row[0]), 1e-30));
    margins.push_back(least);
  }
  return margins;
}

} // namespace

RandomLayer makeLayer(uint64_t seed) {
  Random random(seed * 7919 + 1);
  RandomLayer layer;
  LayerShape &shape = layer.spec.shape;
  shape.hidden = pick(random, 1, 80);
  shape.intermediate = pick(random, 1, 60);
  shape.experts = pick(random, 1, 12);
  shape.topK = chance(random, 0.15) ? shape.experts : pick(random, 1, std::min(4u, shape.experts));
  shape.dtype = std::vector<DType>{DType::F32, DType::BF16, DType::BF16, DType::F16}[pick(random, 0, 3)];
  if (chance(random, 0.35)) {
    shape.sharedIntermediate = pick(random, 1, 50);
    shape.sharedGate = chance(random, 0.5);
  }
  layer.spec.router = makeRouter(random, shape);
  layer.spec.activation = static_cast<Activation>(pick(random, 0, 4));
  layer.spec.layers = {pick(random, 0, 3)};
  addBiases(layer.spec, seed);
  putWeights(layer.spec, seed);
  markStored(layer.spec, seed);
  likenShared(layer.spec, seed);
  layer.text = importer::modelText(layer.spec, "random");
  layer.weights = fmt::format("random:seed={},std=0.2", seed + 1);
  layer.tokens = chance(random, 0.05) ? 0 : chance(random, 0.2) ? 1 : pick(random, 2, 48);
  layer.plannedTokens = chance(random, 0.4) ? 1 : std::max(1u, layer.tokens);
  layer.packBudget = std::vector<const char *>{"0%", "40%", "100%"}[pick(random, 0, 2)];
  layer.callerRoutes = chance(random, 0.35);
  if (chance(random, 0.3))
    layer.onlyExpert = pick(random, 0, shape.experts - 1);
  layer.padding = chance(random, 0.3) ? 0.3 : 0;
  layer.hidden = reference::Tensor::filled({layer.tokens, shape.hidden}, 0);
  std::normal_distribution<double> normal;
  for (double &value : layer.hidden.values)
    value = representable(normal(random), shape.dtype);
  if (layer.callerRoutes)
    routeAsCaller(layer, random);
  return layer;
}

std::string RandomLayer::describe() const {
  const LayerShape &shape = spec.shape;
  const RouterSpec &router = spec.router;
  const std::string route = fmt::format("before {} after {}{}{}{} groups {}/{}", static_cast<int>(router.before),
                                        static_cast<int>(router.after), router.correctionBias ? " correction" : "",
                                        router.routerBias ? " bias" : "", router.renormalise ? " renormalised" : "",
                                        router.groupsPicked, router.groups);
  return fmt::format(
      "H={} I={} E={} K={} {} T={} activation {} {} planned for {} shared={} {}{}packed {} {}{}", shape.hidden,
      shape.intermediate, shape.experts, shape.topK, dtypeName(shape.dtype), tokens, static_cast<int>(spec.activation),
      route, plannedTokens, shape.sharedIntermediate, shape.expertBias ? "biased, " : "",
      shape.weightOnInput        ? "weights on inputs, "
      : spec.e4m3Experts.empty() ? ""
                                 : "stored in e4m3, ",
      packBudget, callerRoutes ? "caller routes" : "router routes", onlyExpert ? ", one expert for all" : "");
}

Result<Expected> expectedOf(const RandomLayer &layer, const WeightSource &weights, Quantised quantised) {
  const LayerShape &shape = layer.spec.shape;
  const RouterSpec &router = layer.spec.router;
  const importer::WeightNames &names = layer.spec.names;
  int64_t hidden = shape.hidden, intermediate = shape.intermediate, experts = shape.experts,
          shared = shape.sharedIntermediate;
  WeightReader read{weights, layer.spec, {}};
  auto activation = [&](double gate, double up) {
    return activate(layer.spec.activation, layer.spec.clamped, gate, up);
  };
  auto expert = [&](const char *part, std::vector<int64_t> dims) {
    return read(fmt::format("experts.{{e}}.{}.weight", part), std::move(dims), shape.dtype, &layer.spec.e4m3Experts);
  };
  reference::Tensor gate = expert(names.gate, {experts, intermediate, hidden}),
                    up = expert(names.up, {experts, intermediate, hidden}),
                    down = expert(names.down, {experts, hidden, intermediate});
  reference::Tensor gateBias, upBias, downBias;
  reference::FfnWeights ffn{gate, up, down};
  const std::function<void(std::span<double>)> quantise = quantiseRow;
  ffn.roundRow = quantised.routed ? &quantise : nullptr;
  if (shape.expertBias) {
    auto bias = [&](const char *part, int64_t columns) {
      return read(fmt::format("experts.{{e}}.{}.bias", part), {experts, columns}, shape.dtype);
    };
    gateBias = bias(names.gate, intermediate), upBias = bias(names.up, intermediate),
    downBias = bias(names.down, hidden);
    ffn.gateBias = &gateBias, ffn.upBias = &upBias, ffn.downBias = &downBias;
  }
  Expected expected;
  std::optional<reference::Tensor> init;
  if (shared > 0) {
    auto sharedPart = [&](const char *part, std::vector<int64_t> dims) {
      return read(fmt::format("{}.{}.weight", names.shared, part), std::move(dims), shape.dtype,
                  &layer.spec.e4m3Shared);
    };
    reference::Tensor sharedGate = sharedPart(names.gate, {shared, hidden}),
                      sharedUp = sharedPart(names.up, {shared, hidden}),
                      sharedDown = sharedPart(names.down, {hidden, shared});
    std::optional<reference::Tensor> sharedRouter;
    if (shape.sharedGate)
      sharedRouter = read(fmt::format("{}.weight", names.sharedRouter), {1, hidden}, shape.dtype);
    reference::FfnWeights sharedFfn{sharedGate, sharedUp, sharedDown};
    sharedFfn.roundRow = quantised.shared ? &quantise : nullptr;
    auto result = reference::sharedFfn(layer.hidden, sharedFfn, sharedRouter ? &*sharedRouter : nullptr, activation);
    if (!result)
      return result.status();
    init = *result;
  }
  reference::Chosen chosen{layer.ids, layer.routeWeights};
  if (!layer.callerRoutes) {
    reference::Tensor weight = read("gate.weight", {experts, hidden}, shape.dtype);
    std::optional<reference::Tensor> correction;
    if (router.correctionBias)
      correction = read("gate.e_score_correction_bias", {experts}, DType::F32);
    std::optional<reference::Tensor> routerBias;
    if (router.routerBias)
      routerBias = read("gate.bias", {experts}, shape.dtype);
    reference::RouteSpec spec;
    spec.topK = {shape.topK, router.groups, router.groupsPicked, router.groupTop};
    if (router.before != Scoring::None)
      spec.before = toReference(router.before);
    if (router.after != Scoring::None)
      spec.after = toReference(router.after);
    if (router.renormalise)
      spec.epsilon = router.epsilon;
    spec.scale = router.scale;
    const reference::Tensor *bias = routerBias ? &*routerBias : nullptr,
                            *corrected = correction ? &*correction : nullptr;
    auto routed = reference::route(layer.hidden, weight, bias, corrected, spec);
    auto logits = reference::router(layer.hidden, weight, bias);
    if (!routed || !logits)
      return routed ? logits.status() : routed.status();
    chosen = *routed;
    expected.margin = choiceMargins(*logits, corrected, router, shape.topK);
  }
  if (!read.error.ok())
    return read.error;
  auto result =
      reference::groupedFfn(layer.hidden, chosen.ids, chosen.weights, ffn, init ? &*init : nullptr, activation,
                            shape.weightOnInput ? reference::WeightOn::Input : reference::WeightOn::Output);
  if (!result)
    return result.status();
  expected.output = std::move(result->output);
  return expected;
}

} // namespace moec::conformance
