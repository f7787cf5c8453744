#include "tools/moec/ExplainCuda.h"

#include "compiler/core/FieldsJson.h"
#include "compiler/core/PlanCuda.h"
#include "runtime/recompile/Text.h"
#include "tools/moec/Explain.h"
#include "tools/moec/Setup.h"

#include <fmt/format.h>

#include <algorithm>

namespace moec::tool {
namespace {

constexpr size_t shownRunnersUp = 3;

/// Layers that got the same plan for the same routing.
struct Group {
  std::vector<uint32_t> layers; // ascending
  const LayerPackage *first;
};

std::vector<Group> groupsOf(const Package &package) {
  std::vector<Group> groups;
  for (const LayerPackage &layer : package.layers) {
    auto same = std::find_if(groups.begin(), groups.end(), [&](const Group &group) {
      return group.first->shape == layer.shape && group.first->plan == layer.plan &&
             group.first->plannedFor == layer.plannedFor;
    });
    if (same == groups.end())
      groups.push_back({{layer.layer}, &layer});
    else
      same->layers.push_back(layer.layer);
  }
  return groups;
}

/// Generation 0's kernels on the routing that was planned for.
LayerPlan genericPlan(const LayerPackage &layer, const TargetFacts &facts, const Calibration &calibration) {
  LayerPlan plan = planGenericLayer(layer.shape, layer.plannedFor.tokens, facts, calibration, {});
  plan.predictedNs = predictCudaLayer(layer.shape, plan.config.cuda, layer.plannedFor, facts, calibration);
  return plan;
}

std::string line(const std::string &name, const std::string &value) { return fmt::format("  {:<14}{}\n", name, value); }

std::string difference(double ns, double chosenNs) {
  return chosenNs > 0 ? fmt::format("{:+.2f} %", (ns / chosenNs - 1) * 100) : "";
}

std::string groupText(const Group &group, const TargetFacts &facts, const Calibration &calibration) {
  const LayerPackage &layer = *group.first;
  const LayerShape &shape = layer.shape;
  const double chosenNs = layer.plan.predictedNs;
  std::string text = fmt::format("{} {}: E={} K={} H={} I={} {}\n", group.layers.size() == 1 ? "layer" : "layers",
                                 rangesText(group.layers), shape.experts, shape.topK, shape.hidden, shape.intermediate,
                                 dtypeName(shape.dtype));
  text += line("planned for", fmt::format("{} tokens, busiest expert {} pairs, imbalance {:.2f}", layer.plannedFor.tokens,
                                          layer.plannedFor.busiest(), imbalance(layer.plannedFor.pairs)));
  for (const TileChoice &choice : tileChoices(layer, facts, calibration, shownRunnersUp)) {
    text += line(launchName(choice.launch), choice.tile.text());
    for (const TileChoice::Other &other : choice.runnersUp)
      text += line("", fmt::format("  else {:<28} {:>9}  {}", other.tile.text(), textOfNs(other.predictedNs),
                                   difference(other.predictedNs, chosenNs)));
  }
  text += line("predicted", textOfNs(chosenNs) + " per step");
  const LayerPlan generic = genericPlan(layer, facts, calibration);
  text += line("generation 0", fmt::format("{}, {} and {}", textOfNs(generic.predictedNs), generic.config.cuda.gateUp.text(),
                                           generic.config.cuda.down.text()));
  return text;
}

nlohmann::json choiceJson(const TileChoice &choice) {
  nlohmann::json others = nlohmann::json::array();
  for (const TileChoice::Other &other : choice.runnersUp)
    others.push_back({{"tile", other.tile.text()}, {"predicted_us", other.predictedNs / 1000}});
  return {{"launch", launchName(choice.launch)}, {"tile", choice.tile.text()}, {"runners_up", others}};
}

nlohmann::json groupJson(const Group &group, const TargetFacts &facts, const Calibration &calibration) {
  const LayerPackage &layer = *group.first;
  const LayerPlan generic = genericPlan(layer, facts, calibration);
  nlohmann::json choices = nlohmann::json::array();
  for (const TileChoice &choice : tileChoices(layer, facts, calibration, shownRunnersUp))
    choices.push_back(choiceJson(choice));
  return {{"layers", group.layers},
          {"config", layer.plan.config.text()},
          {"planned_for", {{"tokens", layer.plannedFor.tokens}, {"pairs", layer.plannedFor.pairs}}},
          {"predicted_us", layer.plan.predictedNs / 1000},
          {"tiles", choices},
          {"generation_0", {{"config", generic.config.text()}, {"predicted_us", generic.predictedNs / 1000}}}};
}

} // namespace

std::vector<TileChoice> tileChoices(const LayerPackage &layer, const TargetFacts &facts, const Calibration &calibration,
                                    size_t most) {
  std::vector<std::pair<LaunchKind, CudaTile CudaConfig::*>> products = {{LaunchKind::GateUp, &CudaConfig::gateUp},
                                                                         {LaunchKind::Down, &CudaConfig::down}};
  if (layer.shape.sharedIntermediate > 0) {
    products.emplace_back(LaunchKind::SharedGateUp, &CudaConfig::sharedGateUp);
    products.emplace_back(LaunchKind::SharedDown, &CudaConfig::sharedDown);
  }
  std::vector<TileChoice> choices;
  const CudaConfig &chosen = layer.plan.config.cuda;
  for (auto [launch, member] : products) {
    TileChoice choice{launch, chosen.*member, {}};
    for (const CudaTile &tile : cudaTiles(facts)) {
      CudaConfig other = chosen;
      other.*member = tile;
      if (tile != choice.tile)
        choice.runnersUp.push_back({tile, predictCudaLayer(layer.shape, other, layer.plannedFor, facts, calibration)});
    }
    std::sort(choice.runnersUp.begin(), choice.runnersUp.end(), [](const auto &a, const auto &b) {
      return a.predictedNs != b.predictedNs ? a.predictedNs < b.predictedNs : a.tile.text() < b.tile.text();
    });
    choice.runnersUp.resize(std::min(choice.runnersUp.size(), most));
    choices.push_back(std::move(choice));
  }
  return choices;
}

std::string kernelLines(const Package &package) {
  std::string text = fmt::format("  {:<44} {:>7} {:>9} {:>10} {:>10} {:>10} {:>9}\n", "kernel", "threads", "registers",
                                 "shared", "local", "cubin", "compiled");
  for (const Image &image : package.images) {
    const KernelResources &use = image.resources;
    text += fmt::format("  {:<44} {:>7} {:>9} {:>10} {:>10} {:>10} {:>6.0f} ms\n", image.name, use.threads, use.registers,
                        bytesText(use.staticSharedBytes + use.dynamicSharedBytes), bytesText(use.localBytes),
                        bytesText(image.bytes.size()), use.compileMs);
  }
  return text;
}

std::string cudaExplanationText(const Package &package, const Calibration &calibration, const std::string &calibrationSource) {
  const TargetFacts &facts = package.target;
  std::string text = fmt::format("Target {}: {} for {}, {} multiprocessors, {} of shared memory a block, L2 {}. Predictions: {}.\n",
                                 facts.name, facts.arch, facts.gpu.model, facts.gpu.multiprocessors,
                                 bytesText(facts.gpu.sharedBytesPerBlock), bytesText(facts.gpu.l2Bytes), calibrationSource);
  for (const Group &group : groupsOf(package))
    text += groupText(group, facts, calibration);
  return text + kernelLines(package);
}

nlohmann::json cudaExplanationJson(const Package &package, const Calibration &calibration,
                                   const std::string &calibrationSource) {
  nlohmann::json groups = nlohmann::json::array(), kernels = nlohmann::json::array();
  for (const Group &group : groupsOf(package))
    groups.push_back(groupJson(group, package.target, calibration));
  for (const Image &image : package.images)
    kernels.push_back(
        {{"name", image.name}, {"bytes", image.bytes.size()}, {"resources", fieldsjson::write(image.resources)}});
  return {{"calibration", calibrationSource}, {"plans", groups}, {"kernels", kernels}};
}

} // namespace moec::tool
