// Plans, histograms and configs as JSON, both ways; shared by the trace's writer and its reader.
#pragma once

#include "compiler/core/Json.h"
#include "runtime/recompile/Records.h"

#include <nlohmann/json.hpp>

namespace moec {

using OrderedJson = nlohmann::ordered_json;

OrderedJson toJson(const LayerShape &shape);
OrderedJson toJson(const LayerConfig &config);
OrderedJson toJson(const LayerPlan &plan);
OrderedJson toJson(const Histogram &histogram);
OrderedJson toJson(const TargetFacts &facts);
OrderedJson toJson(const Calibration &calibration);
OrderedJson toJson(const PolicyConfig &config);
OrderedJson toJson(const PlanLimits &limits);

// Each checks ranges (so that planning with the answer is safe) and reports to the document of
// `json`.
LayerShape readShape(const JsonValue &json);
LayerConfig readConfig(const JsonValue &json);
LayerPlan readPlan(const JsonValue &json, uint32_t experts);
Histogram readHistogram(const JsonValue &json, uint32_t experts);
TargetFacts readFacts(const JsonValue &json);
Calibration readCalibration(const JsonValue &json);
PolicyConfig readPolicyConfig(const JsonValue &json);
PlanLimits readLimits(const JsonValue &json);

} // namespace moec
