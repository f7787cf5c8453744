// Setups by the names that a trace's header has for their numbers.
#include "compiler/core/Try.h"
#include "runtime/trace/EventsJson.h"
#include "runtime/trace/WhatIf.h"

#include <fmt/ranges.h>

namespace moec {
namespace {

std::vector<std::string> keysOf(const OrderedJson &json) {
  std::vector<std::string> keys;
  for (const auto &[key, value] : json.items())
    keys.push_back(key);
  return keys;
}

Result<OrderedJson> numberOf(const std::string &key, const std::string &value) {
  OrderedJson number = OrderedJson::parse(value, nullptr, false);
  if (!number.is_number())
    return makeError(Code::InvalidArgument, "{}={}: expected a number", key, value);
  return number;
}

/// What `read` makes of `json`, which has a value that a user gave.
template <typename T> Result<T> checked(const OrderedJson &json, T (*read)(const JsonValue &), const std::string &key) {
  Result<JsonDocument> document = JsonDocument::parse(json.dump(), key.c_str(), Code::InvalidArgument);
  if (!document)
    return document.status();
  T made = read(document->root());
  return document->status().ok() ? Result<T>(std::move(made)) : document->status();
}

Status changeLimits(PolicySetup &setup, const std::string &key, const OrderedJson &number) {
  for (LayerSetup &layer : setup.layers) {
    OrderedJson json = toJson(layer.limits);
    json[key] = number;
    Result<PlanLimits> limits = checked(json, readLimits, key);
    MOEC_TRY(limits.status());
    layer.limits = *limits;
    layer.live = planLayer(layer.shape, layer.plannedFor, setup.facts, setup.calibration, layer.limits);
  }
  return {};
}

Status change(PolicySetup &setup, const std::string &key, const std::string &value) {
  if (key == "mode") {
    Result<LoopMode> mode = parseMode(value);
    MOEC_TRY(mode.status());
    setup.mode = *mode;
    return {};
  }
  OrderedJson policy = toJson(setup.config);
  const OrderedJson limits = toJson(PlanLimits());
  if (!policy.contains(key) && !limits.contains(key))
    return makeError(Code::InvalidArgument, "{} is none of mode, {}, {}", key, fmt::join(keysOf(policy), ", "),
                     fmt::join(keysOf(limits), ", "));
  Result<OrderedJson> number = numberOf(key, value);
  MOEC_TRY(number.status());
  if (limits.contains(key))
    return changeLimits(setup, key, *number);
  policy[key] = *number;
  Result<PolicyConfig> config = checked(policy, readPolicyConfig, key);
  MOEC_TRY(config.status());
  setup.config = *config;
  return {};
}

} // namespace

Result<PolicySetup> changedSetup(PolicySetup setup, const std::vector<std::pair<std::string, std::string>> &values) {
  for (const auto &[key, value] : values)
    MOEC_TRY(change(setup, key, value));
  return setup;
}

} // namespace moec
