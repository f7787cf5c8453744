#include "tools/moec-trace/Commands.h"

#include "runtime/recompile/Text.h"
#include "tools/moec-trace/Timeline.h"

#include <nlohmann/json.hpp>

namespace moec {

namespace {

using Json = nlohmann::ordered_json;

std::string layersOf(const ChangeStory &change) {
  std::vector<uint32_t> layers;
  for (const DecisionRecord *decision : change.decisions)
    layers.push_back(decision->statistics.layer);
  return textOfList(layers, 6);
}

std::map<std::string, uint64_t> reasonsOf(const Timeline &timeline) {
  std::map<std::string, uint64_t> reasons;
  for (const DecisionRecord *decision : timeline.decisions)
    ++reasons[fmt::format("{}: {}", verdictName(decision->verdict), reasonName(decision->reason))];
  return reasons;
}

/// Share of the live plan's predicted time, over the layers of a change.
double predictedGain(const ChangeStory &change) {
  double gainNs = 0, liveNs = 0;
  for (const DecisionRecord *decision : change.decisions) {
    gainNs += decision->gainNs;
    liveNs += decision->prediction.liveNs;
  }
  return liveNs > 0 ? gainNs / liveNs : 0;
}

Json toJson(const ChangeStory &change) {
  Json json = {{"decisions", Json::array()},
               {"layers", Json::array()},
               {"verdict", verdictName(change.decisions.front()->verdict)},
               {"outcome", change.outcome()},
               {"predicted_gain", predictedGain(change)}};
  for (const DecisionRecord *decision : change.decisions) {
    json["decisions"].push_back(decision->id);
    json["layers"].push_back(decision->statistics.layer);
  }
  if (change.build) {
    json["generation"] = change.build->report.generation;
    json["status"] = codeName(change.build->code);
    json["kernels_built"] = change.build->report.kernelsBuilt;
    json["compile_ms"] = change.build->report.compileMs;
    json["pack_ms"] = change.build->report.packMs;
  }
  if (change.judgement) {
    json["measured_gain"] = change.judgement->measuredGain;
    json["measured_low"] = change.judgement->measuredLow;
    json["measured_high"] = change.judgement->measuredHigh;
  }
  return json;
}

void printJson(const TraceFile &trace, const Timeline &timeline) {
  Json json = {{"schema", "moec.trace-summary"},
               {"schema_version", 1},
               {"build_id", trace.info.buildId},
               {"mode", modeName(trace.setup.mode)},
               {"layers", trace.setup.layers.size()},
               {"seconds", static_cast<double>(timeline.lastNs - timeline.firstNs) * 1e-9},
               {"steps", timeline.steps},
               {"decisions", timeline.decisions.size()},
               {"reasons", reasonsOf(timeline)},
               {"changes", Json::array()},
               {"errors", timeline.errors.size()},
               {"problems", trace.problems}};
  for (const ChangeStory &change : timeline.changes)
    json["changes"].push_back(toJson(change));
  if (timeline.end) {
    json["samples"] = timeline.end->samples;
    json["skipped_samples"] = timeline.end->skipped;
    json["dropped_lines"] = timeline.end->droppedLines;
  }
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

void printText(const TraceFile &trace, const Timeline &timeline) {
  fmt::print("{} layers, {} on {} threads, mode {}, build {}\n", trace.setup.layers.size(), trace.setup.facts.name,
             trace.setup.facts.threads, modeName(trace.setup.mode), trace.info.buildId);
  fmt::print("{:.1f} s, {} steps seen\n\n", static_cast<double>(timeline.lastNs - timeline.firstNs) * 1e-9,
             timeline.steps);
  fmt::print("decisions\n");
  for (const auto &[reason, count] : reasonsOf(timeline))
    fmt::print("  {:5}  {}\n", count, reason);
  fmt::print("\nchanges: {}\n", timeline.changes.size());
  if (!timeline.changes.empty())
    fmt::print("  {:>8}  {:<8} {:>4}  {:<16} {:>10} {:>10} {:>9} {:>9}  {}\n", "time", "verdict", "gen", "layers",
               "compile", "packing", "predicted", "measured", "outcome");
  for (const ChangeStory &change : timeline.changes) {
    const DecisionRecord &first = *change.decisions.front();
    fmt::print("  {:>8}  {:<8} {:>4}  {:<16} {:>10} {:>10} {:>9} {:>9}  {}\n",
               fmt::format("{:.2f} s", static_cast<double>(first.nowNs) * 1e-9), verdictName(first.verdict),
               change.swap ? std::to_string(change.swap->generation) : "-", layersOf(change),
               change.build ? textOfNs(change.build->report.compileMs * 1e6) : "-",
               change.build ? textOfNs(change.build->report.packMs * 1e6) : "-", textOfShare(predictedGain(change)),
               change.judgement ? textOfShare(change.judgement->measuredGain) : "-", change.outcome());
  }
  for (const ErrorEvent *error : timeline.errors)
    fmt::print("error at {:.2f} s in {}: {}\n", static_cast<double>(error->nowNs) * 1e-9, error->where, error->message);
  if (timeline.end && (timeline.end->skipped || timeline.end->droppedLines))
    fmt::print("\n{} of {} samples were skipped (ring full), {} trace lines dropped (queue full)\n",
               timeline.end->skipped, timeline.end->samples + timeline.end->skipped, timeline.end->droppedLines);
}

} // namespace

int summaryCommand(const TraceFile &trace, Format format) {
  Timeline timeline = timelineOf(trace);
  format == Format::Json ? printJson(trace, timeline) : printText(trace, timeline);
  return 0;
}

} // namespace moec
