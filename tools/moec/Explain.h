// `moec compile --explain`: what was planned for each layer, at which predicted cost, and what came next.
#pragma once

#include "compiler/core/Package.h"
#include "compiler/core/Plan.h"
#include "tools/moec/Alternatives.h"

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <string>
#include <vector>

namespace moec::tool {

/// Layers that got the same plan for the same reasons.
struct LayerGroup {
  std::vector<uint32_t> layers; // ascending
  const LayerPackage *first = nullptr;
  PlanLimits limits;
  std::vector<Alternative> runnersUp; // cheapest first, the chosen heights not among them
  Alternative generic;                // generation 0's heights, with a table for this histogram
};

struct Explanation {
  std::vector<LayerGroup> groups;
  std::string calibrationSource;
};

/// `limits` per layer number. `package` must outlive the answer.
Explanation explain(const Package &package, const Calibration &calibration, const std::string &calibrationSource,
                    const std::map<uint32_t, PlanLimits> &limits);

/// "E=64 K=8 H=2048 I=1024 bf16", and how the checkpoint holds experts where that is not plain.
std::string dimensionsText(const LayerShape &shape);

/// "0-47, 60", of ascending numbers.
std::string rangesText(const std::vector<uint32_t> &layers);

std::string explanationText(const Explanation &explanation, const TargetFacts &facts);
nlohmann::json explanationJson(const Explanation &explanation, const TargetFacts &facts);

} // namespace moec::tool
