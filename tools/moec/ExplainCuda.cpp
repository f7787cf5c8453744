#include "tools/moec/ExplainCuda.h"

#include "compiler/core/FieldsJson.h"
#include "compiler/core/JoinedShared.h"
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

std::string line(const std::string &name, const std::string &value) { return fmt::format("  {:<16}{}\n", name, value); }

std::string difference(double ns, double chosenNs) {
  return chosenNs > 0 ? fmt::format("{:+.2f} %", (ns / chosenNs - 1) * 100) : "";
}

std::string alternativeLine(const char *name, const CudaConfig &config, double ns, double chosenNs) {
  return line(name, fmt::format("{:<58} {:>9}  {}", config.gateUp.text() + ", " + config.down.text(), textOfNs(ns),
                                difference(ns, chosenNs)));
}

CudaStepCost costOf(const LayerPackage &layer, const TargetFacts &facts, const Calibration &calibration) {
  return cudaStepCost(layer.shape, layer.plan.config.cuda, layer.plannedFor, facts, calibration);
}

const char *quantisingText(const CudaQuantiseCost &cost) {
  if (cost.inProductsNs > 0)
    return "rows of few tokens to e4m3, by the products themselves";
  return cost.activatedNs > 0 ? "token rows, and what is activated, to e4m3 before each product"
                              : "token rows to e4m3; gate-up gives its own so";
}

FewForms fewForms(const LayerPackage &layer) {
  const CudaConfig &config = layer.plan.config.cuda;
  return FewForms::of(layer.shape, layer.plannedFor.tokens, config.gateUp, config.down);
}

/// Launches of a plan for few tokens that are of kernels made for these, whatever the tiles.
const char *fewText(const FewForms &few) {
  if (few.gateUp)
    return few.down ? "gate-up and, with combine, down in kernels of their own, which quantise their rows"
                    : "gate-up in a kernel of its own; both products quantise their rows";
  return "down, with combine, in a kernel of its own";
}

std::string groupText(const Group &group, const TargetFacts &facts, const Calibration &calibration) {
  const LayerPackage &layer = *group.first;
  const double chosenNs = layer.plan.predictedNs;
  std::string text = fmt::format("{} {}: {}\n", group.layers.size() == 1 ? "layer" : "layers", rangesText(group.layers),
                                 dimensionsText(layer.shape));
  text +=
      line("planned for", fmt::format("{} tokens, busiest expert {} pairs, imbalance {:.2f}", layer.plannedFor.tokens,
                                      layer.plannedFor.busiest(), imbalance(layer.plannedFor.pairs)));
  for (const TileChoice &choice : tileChoices(layer, facts, calibration))
    text +=
        line(launchName(choice.launch), fmt::format("{:<58} {:>9}", choice.tile.text(), textOfNs(choice.predictedNs)));
  if (const FewForms few = fewForms(layer); few.any())
    text += line("few tokens", fewText(few));
  if (const CudaQuantiseCost cost = costOf(layer, facts, calibration).quantise; cost.ns() > 0)
    text += line("quantise", fmt::format("{:<58} {:>9}", quantisingText(cost), textOfNs(cost.ns())));
  if (joinsShared(layer.shape))
    text += line("shared expert", "joins the routed ones: a row for every token in gate-up and down");
  text += line("predicted", fmt::format("{:<58} {:>9}", "a step, with its dispatch and combine", textOfNs(chosenNs)));
  const char *name = "runners-up";
  for (const CudaCandidate &other : runnersUp(layer, facts, calibration, shownRunnersUp)) {
    text += alternativeLine(name, other.config, other.predictedNs, chosenNs);
    name = "";
  }
  const LayerPlan generic = genericPlan(layer, facts, calibration);
  return text + alternativeLine("generation 0", generic.config.cuda, generic.predictedNs, chosenNs);
}

nlohmann::json candidateJson(const CudaCandidate &candidate) {
  return {{"gate_up", candidate.config.gateUp.text()},
          {"down", candidate.config.down.text()},
          {"predicted_us", candidate.predictedNs / 1000}};
}

nlohmann::json groupJson(const Group &group, const TargetFacts &facts, const Calibration &calibration) {
  const LayerPackage &layer = *group.first;
  const LayerPlan generic = genericPlan(layer, facts, calibration);
  const FewForms few = fewForms(layer);
  nlohmann::json choices = nlohmann::json::array(), others = nlohmann::json::array();
  for (const TileChoice &choice : tileChoices(layer, facts, calibration))
    choices.push_back({{"launch", launchName(choice.launch)},
                       {"tile", choice.tile.text()},
                       {"predicted_us", choice.predictedNs / 1000}});
  for (const CudaCandidate &other : runnersUp(layer, facts, calibration, shownRunnersUp))
    others.push_back(candidateJson(other));
  return {{"layers", group.layers},
          {"config", layer.plan.config.text()},
          {"planned_for", {{"tokens", layer.plannedFor.tokens}, {"pairs", layer.plannedFor.pairs}}},
          {"predicted_us", layer.plan.predictedNs / 1000},
          {"shared_joins", joinsShared(layer.shape)},
          {"quantise_us", costOf(layer, facts, calibration).quantise.ns() / 1000},
          {"tiles", choices},
          {"few_tokens", {{"gate_up", few.gateUp}, {"down", few.down}}},
          {"runners_up", others},
          {"generation_0", {{"config", generic.config.text()}, {"predicted_us", generic.predictedNs / 1000}}}};
}

} // namespace

std::vector<TileChoice> tileChoices(const LayerPackage &layer, const TargetFacts &facts,
                                    const Calibration &calibration) {
  const CudaConfig &config = layer.plan.config.cuda;
  const CudaStepCost cost = cudaStepCost(layer.shape, config, layer.plannedFor, facts, calibration);
  std::vector<TileChoice> choices = {{LaunchKind::GateUp, config.gateUp, cost.gateUp.ns},
                                     {LaunchKind::Down, config.down, cost.down.ns}};
  if (layer.shape.sharedIntermediate > 0 && !joinsShared(layer.shape)) {
    choices.push_back({LaunchKind::SharedGateUp, config.sharedGateUp, cost.sharedGateUp.ns});
    choices.push_back({LaunchKind::SharedDown, config.sharedDown, cost.sharedDown.ns});
  }
  return choices;
}

std::vector<CudaCandidate> runnersUp(const LayerPackage &layer, const TargetFacts &facts,
                                     const Calibration &calibration, size_t most) {
  std::vector<CudaCandidate> candidates = cudaCandidates(layer.shape, layer.plannedFor, facts, calibration);
  std::erase_if(candidates, [&](const CudaCandidate &candidate) { return candidate.config == layer.plan.config.cuda; });
  candidates.resize(std::min(candidates.size(), most));
  return candidates;
}

std::string kernelLines(const Package &package) {
  std::string text = fmt::format("  {:<44} {:>7} {:>9} {:>10} {:>10} {:>10} {:>9}\n", "kernel", "threads", "registers",
                                 "shared", "local", "cubin", "compiled");
  for (const Image &image : package.images) {
    const KernelResources &use = image.resources;
    text += fmt::format("  {:<44} {:>7} {:>9} {:>10} {:>10} {:>10} {:>6.0f} ms\n", image.name, use.threads,
                        use.registers, bytesText(use.staticSharedBytes + use.dynamicSharedBytes),
                        bytesText(use.localBytes), bytesText(image.bytes.size()), use.compileMs);
  }
  return text;
}

std::string cudaExplanationText(const Package &package, const Calibration &calibration,
                                const std::string &calibrationSource) {
  const TargetFacts &facts = package.target;
  std::string text =
      fmt::format("Target {}: {} for {}, {} multiprocessors, {} of shared memory a block, L2 {}. Predictions: {}.\n",
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
