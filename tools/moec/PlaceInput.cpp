#include "tools/moec/PlaceInput.h"

#include "compiler/core/PlacementSearch.h"
#include "compiler/core/Try.h"
#include "runtime/Model.h"
#include "runtime/trace/TraceReader.h"

#include <algorithm>

namespace moec::tool {
namespace {

/// A search looks at each step again and again; so many tell enough of routing.
constexpr size_t mostSteps = 96;

using Windows = std::vector<const Window *>;

/// The steps that a window has kept, each for its part of the window.
void addSteps(const Window &window, std::vector<PlacedStep> &steps) {
  std::vector<Histogram> kept = window.specimens;
  if (kept.empty())
    kept.push_back(typicalStep(window));
  for (Histogram &step : kept)
    steps.push_back({std::move(step), static_cast<double>(window.steps) / static_cast<double>(kept.size())});
}

std::vector<PlacedStep> stepsOf(const Windows &windows, size_t begin, size_t end) {
  std::vector<PlacedStep> steps;
  for (size_t index = begin; index < end; ++index)
    addSteps(*windows[index], steps);
  return thinned(steps, mostSteps);
}

PlaceLayer layerOf(const LayerSetup &setup, const Windows &windows, bool holdBack) {
  const size_t all = windows.size(), half = all / 2;
  PlaceLayer layer{setup.layer, setup.shape.experts, setup.shape, setup.limits, stepsOf(windows, 0, all), {}, {}};
  layer.first = holdBack ? stepsOf(windows, 0, half) : layer.steps;
  layer.second = holdBack ? stepsOf(windows, half, all) : layer.steps;
  return layer;
}

Result<PlaceInput> fromTrace(const std::string &path) {
  Result<TraceFile> trace = readTrace(path);
  MOEC_TRY(trace.status());
  for (const std::string &problem : trace->problems)
    note(problem);
  std::map<uint32_t, Windows> windows;
  for (const TraceLine &line : trace->lines)
    if (const auto *counts = std::get_if<CountsEvent>(&line.event); counts && counts->window.steps > 0)
      windows[counts->window.layer].push_back(&counts->window);
  PlaceInput input;
  input.heldBack = true;
  input.facts = trace->setup.facts;
  input.calibration = trace->setup.calibration;
  input.figures = "the trace's";
  constexpr size_t leastToHoldBack = 4;
  for (const LayerSetup &setup : trace->setup.layers)
    if (windows.contains(setup.layer))
      input.heldBack &= windows[setup.layer].size() >= leastToHoldBack;
  for (const LayerSetup &setup : trace->setup.layers)
    if (windows.contains(setup.layer))
      input.layers.push_back(layerOf(setup, windows[setup.layer], input.heldBack));
  if (input.layers.empty())
    return makeError(Code::InvalidArgument, "{}: the trace holds no counts to place experts by", path);
  return input;
}

/// What the planner needs of a profile's layers. Error: a layer that the model lacks, or has with other experts.
Status addModel(const PlaceSource &source, const Profile &profile, const Tool &tool, PlaceInput &input) {
  Result<std::shared_ptr<Compiler>> compiler = makeCompiler(source.cache, tool.environment);
  MOEC_TRY(compiler.status());
  Result<std::shared_ptr<const Model>> model = Model::load(source.model, {.compiler = *compiler});
  MOEC_TRY(model.status());
  for (PlaceLayer &layer : input.layers) {
    Result<const LayerDescription *> described = profiledLayer(**model, profile, layer.layer, source.profile);
    MOEC_TRY(described.status());
    layer.shape = (*described)->shape;
  }
  Result<TargetFacts> facts =
      compileTarget(source.target.empty() ? "cpu" : source.target, source.threads, tool.environment);
  MOEC_TRY(facts.status());
  Result<UsedCalibration> calibration =
      findCalibration(source.calibration, *facts, *input.layers.front().shape, **compiler);
  MOEC_TRY(calibration.status());
  input.facts = std::move(*facts);
  input.calibration = calibration->figures;
  input.figures = calibration->source;
  return {};
}

Result<PlaceInput> fromProfile(const PlaceSource &source, const Tool &tool) {
  Result<Profile> profile = readProfile(source.profile);
  MOEC_TRY(profile.status());
  PlaceInput input;
  for (const auto &[number, histogram] : profile->layers) {
    const std::vector<PlacedStep> step = {{histogram, 1}};
    input.layers.push_back({number, static_cast<uint32_t>(histogram.pairs.size()), {}, {}, step, step, step});
  }
  if (input.layers.empty())
    return makeError(Code::InvalidArgument, "{}: the profile has no layers to place", source.profile);
  if (!source.model.empty())
    MOEC_TRY(addModel(source, *profile, tool, input));
  return input;
}

} // namespace

Result<PlaceInput> readPlaceInput(const PlaceSource &source, const Tool &tool) {
  if (source.trace.empty() == source.profile.empty())
    return makeError(Code::InvalidArgument, "expected one of --trace and --profile");
  if (!source.trace.empty() && !source.model.empty())
    return makeError(Code::InvalidArgument, "a trace has its layers' sizes: --trace takes no model");
  if (source.model.empty())
    for (const auto &[name, isGiven] : {std::pair{"--target", !source.target.empty()},
                                        {"--threads", source.threads != 0},
                                        {"--calibration", !source.calibration.empty()},
                                        {"--cache-dir", !source.cache.folder.empty()},
                                        {"--no-cache", source.cache.off}})
      if (isGiven)
        return makeError(Code::InvalidArgument, "{} has no effect without a model{}", name,
                         source.trace.empty() ? "" : ": a trace has its device's figures");
  return source.trace.empty() ? fromProfile(source, tool) : fromTrace(source.trace);
}

} // namespace moec::tool
