#include "tools/moec/Explain.h"

#include "runtime/recompile/Text.h"
#include "tools/moec/Setup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <numeric>

namespace moec::tool {
namespace {

constexpr size_t shownRunnersUp = 3;

uint64_t sum(const std::vector<uint32_t> &values) { return std::accumulate(values.begin(), values.end(), uint64_t{0}); }

uint32_t numPacked(const LayerPlan &plan) {
  return static_cast<uint32_t>(std::count(plan.table.packed.begin(), plan.table.packed.end(), 1));
}

std::string difference(double ns, double chosenNs) {
  return chosenNs > 0 ? fmt::format("{:+.2f} %", (ns / chosenNs - 1) * 100) : "";
}

std::string line(const std::string &name, const std::string &value) { return fmt::format("  {:<14}{}\n", name, value); }

std::string alternativeLine(const std::string &name, const Alternative &other, double chosenNs) {
  return line(name, fmt::format("{:<20} {:>9}  {}", textOfHeights(other.tileRows), textOfNs(other.predictedNs),
                                difference(other.predictedNs, chosenNs)));
}

std::string groupText(const LayerGroup &group, const TargetFacts &facts) {
  const LayerPackage &layer = *group.first;
  const LayerShape &shape = layer.shape;
  const LayerPlan &plan = layer.plan;
  const auto &slots = plan.table.slots;
  std::string text = fmt::format("{} {}: {}\n", group.layers.size() == 1 ? "layer" : "layers", rangesText(group.layers),
                                 dimensionsText(shape));
  text +=
      line("planned for", fmt::format("{} tokens, busiest expert {} pairs, imbalance {:.2f}", layer.plannedFor.tokens,
                                      layer.plannedFor.busiest(), imbalance(layer.plannedFor.pairs)));
  text += line("tile heights", fmt::format("{} of {}", textOfHeights(plan.config.cpu.tileRows), plan.config.text()));
  text += line("packed", fmt::format("{} of {} experts, {}", numPacked(plan), shape.experts,
                                     bytesText(numPacked(plan) * packedExpertBytes(shape, facts))));
  text += line("slots", fmt::format("{} for {} pairs, {} to {} per expert", sum(slots), layer.plannedFor.total(),
                                    slots.empty() ? 0 : *std::min_element(slots.begin(), slots.end()),
                                    slots.empty() ? 0 : *std::max_element(slots.begin(), slots.end())));
  text += line("predicted", textOfNs(plan.predictedNs) + " per step");
  for (size_t index = 0; index < group.runnersUp.size(); ++index)
    text += alternativeLine(index == 0 ? "runners-up" : "", group.runnersUp[index], plan.predictedNs);
  text += alternativeLine("generation 0", group.generic, plan.predictedNs);
  if (!group.runnersUp.empty() && group.runnersUp.front().predictedNs <= plan.predictedNs)
    text += line("tie", "runners-up predict the same time: less compute decided, then taller tiles");
  return text;
}

nlohmann::json alternativeJson(const Alternative &other) {
  return {{"tile_rows", other.tileRows}, {"predicted_us", other.predictedNs / 1000}};
}

nlohmann::json groupJson(const LayerGroup &group, const TargetFacts &facts) {
  const LayerPackage &layer = *group.first;
  const LayerPlan &plan = layer.plan;
  nlohmann::json others = nlohmann::json::array();
  for (const Alternative &other : group.runnersUp)
    others.push_back(alternativeJson(other));
  return {{"layers", group.layers},
          {"config", plan.config.text()},
          {"tile_rows", plan.config.cpu.tileRows},
          {"packed_experts", numPacked(plan)},
          {"packed_bytes", numPacked(plan) * packedExpertBytes(layer.shape, facts)},
          {"pack_budget_bytes", group.limits.packBudgetBytes},
          {"slots", plan.table.slots},
          {"planned_for", {{"tokens", layer.plannedFor.tokens}, {"pairs", layer.plannedFor.pairs}}},
          {"predicted_us", plan.predictedNs / 1000},
          {"runners_up", others},
          {"generation_0", alternativeJson(group.generic)}};
}

} // namespace

std::string dimensionsText(const LayerShape &shape) {
  return fmt::format("E={} K={} H={} I={} {}{}", shape.experts, shape.topK, shape.hidden, shape.intermediate,
                     dtypeName(shape.dtype),
                     shape.expertFormat == WeightFormat::BlockE4M3 ? ", experts stored in e4m3" : "");
}

std::string rangesText(const std::vector<uint32_t> &layers) {
  std::string text;
  for (size_t begin = 0, end = 0; begin < layers.size(); begin = end) {
    for (end = begin + 1; end < layers.size() && layers[end] == layers[end - 1] + 1;)
      ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", layers[begin]);
    if (end - begin > 1)
      text += fmt::format("-{}", layers[end - 1]);
  }
  return text;
}

Explanation explain(const Package &package, const Calibration &calibration, const std::string &calibrationSource,
                    const std::map<uint32_t, PlanLimits> &limits) {
  Explanation explanation{{}, calibrationSource};
  for (const LayerPackage &layer : package.layers) {
    const PlanLimits &own = limits.at(layer.layer);
    auto same = std::find_if(explanation.groups.begin(), explanation.groups.end(), [&](const LayerGroup &group) {
      return group.first->shape == layer.shape && group.first->plan == layer.plan &&
             group.first->plannedFor == layer.plannedFor && group.limits == own;
    });
    if (same != explanation.groups.end()) {
      same->layers.push_back(layer.layer);
      continue;
    }
    LayerGroup group{{layer.layer}, &layer, own, {}, {}};
    group.runnersUp = runnersUp(layer.shape, layer.plannedFor, layer.plan.config.cpu, package.target, calibration, own,
                                shownRunnersUp);
    CpuConfig generic =
        planGenericLayer(layer.shape, layer.plannedFor.tokens, package.target, calibration, own).config.cpu;
    group.generic = {generic.tileRows,
                     planTable(layer.shape, layer.plannedFor, package.target, calibration, own, generic).predictedNs,
                     0};
    explanation.groups.push_back(std::move(group));
  }
  return explanation;
}

std::string explanationText(const Explanation &explanation, const TargetFacts &facts) {
  std::string text = fmt::format("Target {}: {}, {} threads, L2 {}. Predictions: {}.\n", facts.name, isaName(facts.isa),
                                 facts.threads, bytesText(facts.l2Bytes), explanation.calibrationSource);
  for (const LayerGroup &group : explanation.groups)
    text += groupText(group, facts);
  return text;
}

nlohmann::json explanationJson(const Explanation &explanation, const TargetFacts &facts) {
  nlohmann::json groups = nlohmann::json::array();
  for (const LayerGroup &group : explanation.groups)
    groups.push_back(groupJson(group, facts));
  return {{"calibration", explanation.calibrationSource}, {"plans", groups}};
}

} // namespace moec::tool
