// `moec compile --explain`: what was planned for each layer, at which predicted cost, and what came next.
#pragma once

#include "compiler/core/Package.h"
#include "compiler/core/Plan.h"

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <string>
#include <vector>

namespace moec::tool {

/// Another set of tile heights, with the table that suits it.
struct Alternative {
  std::vector<uint16_t> tileRows;
  double predictedNs = 0;
};

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

/// The cheapest `most` other sets of heights for a layer, out of all that planLayer chooses from: those with as many heights
/// as the limits allow, the tallest and the lowest candidate among them, and not all of the chosen ones. Each is given the table planned for it, so the
/// costs compare what would really have been built.
std::vector<Alternative> runnersUp(const LayerPackage &layer, const TargetFacts &facts, const Calibration &calibration,
                                   const PlanLimits &limits, size_t most);

/// `limits` per layer number. `package` must outlive the answer.
Explanation explain(const Package &package, const Calibration &calibration, const std::string &calibrationSource,
                    const std::map<uint32_t, PlanLimits> &limits);

/// "0-47, 60", of ascending numbers.
std::string rangesText(const std::vector<uint32_t> &layers);

std::string explanationText(const Explanation &explanation, const TargetFacts &facts);
nlohmann::json explanationJson(const Explanation &explanation, const TargetFacts &facts);

} // namespace moec::tool
