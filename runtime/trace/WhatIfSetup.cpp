// Setups by the names that a trace's header has for their numbers.
#include "compiler/core/Try.h"
#include "runtime/trace/EventsJson.h"
#include "runtime/trace/WhatIf.h"

#include <fmt/ranges.h>

#include <cmath>

namespace moec {
namespace {

/// `value` as JSON has it, whole where `like` is: 5e8 is 500000000.
Result<OrderedJson> numberOf(const std::string &key, const std::string &value, const OrderedJson &like) {
  OrderedJson number = OrderedJson::parse(value, nullptr, false);
  if (!number.is_number())
    return makeError(Code::InvalidArgument, "{}={}: expected a number", key, value);
  constexpr double most = 9e18; // fits an int64_t
  if (number.is_number_float() && like.is_number_integer())
    if (const auto real = number.get<double>(); std::trunc(real) == real && std::abs(real) < most)
      number = static_cast<int64_t>(real);
  return number;
}

/// What `read` makes of `json`, which has a value that a user gave.
template <typename T> Result<T> checked(const OrderedJson &json, T (*read)(const JsonValue &), const char *what) {
  Result<JsonDocument> document = JsonDocument::parse(json.dump(), what, Code::InvalidArgument);
  MOEC_TRY(document.status());
  T made = read(document->root());
  return document->status().ok() ? Result<T>(std::move(made)) : document->status();
}

/// The plan that a loop with the layer's limits would start from: generation 0's, or the best for what it is planned
/// for.
void planAnew(const PolicySetup &setup, LayerSetup &layer) {
  const bool wasGeneric = layer.live.config == layer.generic;
  const LayerPlan generic =
      planGenericLayer(layer.shape, layer.plannedFor.tokens, setup.facts, setup.calibration, layer.limits);
  layer.generic = generic.config;
  layer.live =
      wasGeneric ? generic : planLayer(layer.shape, layer.plannedFor, setup.facts, setup.calibration, layer.limits);
}

/// "40%" of a layer's experts, packed. Error: InvalidArgument.
Result<OrderedJson> shareOfExperts(const PolicySetup &setup, const LayerSetup &layer, const std::string &value) {
  Result<OrderedJson> percent = numberOf("pack_budget_bytes", value.substr(0, value.size() - 1), 0.0);
  MOEC_TRY(percent.status());
  const auto share = percent->get<double>() / 100;
  if (!(share >= 0 && share <= 1))
    return makeError(Code::InvalidArgument, "pack_budget_bytes={}: expected 0% to 100%", value);
  const double all = static_cast<double>(packedExpertBytes(layer.shape, setup.facts)) * layer.shape.experts;
  return OrderedJson(static_cast<uint64_t>(share * all));
}

Status changeLimits(PolicySetup &setup, const std::string &key, const std::string &value) {
  for (LayerSetup &layer : setup.layers) {
    OrderedJson json = toJson(layer.limits);
    const bool isShare = key == "pack_budget_bytes" && value.ends_with('%');
    Result<OrderedJson> number = isShare ? shareOfExperts(setup, layer, value) : numberOf(key, value, json[key]);
    MOEC_TRY(number.status());
    json[key] = *number;
    Result<PlanLimits> limits = checked(json, readLimits, "limits");
    MOEC_TRY(limits.status());
    if (*limits == layer.limits)
      continue;
    layer.limits = *limits;
    planAnew(setup, layer);
  }
  return {};
}

Status changePolicy(PolicySetup &setup, const std::string &key, const std::string &value) {
  OrderedJson json = toJson(setup.config);
  Result<OrderedJson> number = numberOf(key, value, json[key]);
  MOEC_TRY(number.status());
  json[key] = *number;
  Result<PolicyConfig> config = checked(json, readPolicyConfig, "policy");
  MOEC_TRY(config.status());
  setup.config = *config;
  return {};
}

Status change(PolicySetup &setup, const std::string &key, const std::string &value) {
  if (key == "mode") {
    Result<LoopMode> mode = parseMode(value);
    MOEC_TRY(mode.status());
    setup.mode = *mode;
    return {};
  }
  if (toJson(PlanLimits()).contains(key))
    return changeLimits(setup, key, value);
  if (toJson(setup.config).contains(key))
    return changePolicy(setup, key, value);
  return makeError(Code::InvalidArgument, "{} is none of {}", key, fmt::join(setupKeys(), ", "));
}

} // namespace

std::vector<std::string> setupKeys() {
  std::vector<std::string> keys = {"mode"};
  for (const OrderedJson &json : {toJson(PolicyConfig()), toJson(PlanLimits())})
    for (const auto &[key, value] : json.items())
      keys.push_back(key);
  return keys;
}

Result<PolicySetup> changedSetup(PolicySetup setup, const std::vector<std::pair<std::string, std::string>> &values) {
  for (const auto &[key, value] : values)
    MOEC_TRY(change(setup, key, value));
  return setup;
}

} // namespace moec
