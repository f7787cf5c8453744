#include "tools/moec-trace/Commands.h"

#include "runtime/recompile/Text.h"
#include "tools/moec-trace/Timeline.h"

#include <nlohmann/json.hpp>

namespace moec {

namespace {

const char *sentenceOf(Verdict verdict) {
  switch (verdict) {
  case Verdict::Keep: return "The live plan stays";
  case Verdict::Retable: return "A new table for the same kernels";
  case Verdict::Reuse: return "A generation from kernels that exist already";
  case Verdict::Compile: return "New kernels are compiled";
  case Verdict::Refuse: return "No change is made";
  }
  return "";
}

std::string costText(const ChangeCost &cost) {
  return fmt::format("{} (compile {}, packing {}, load {}, validation {})", textOfNs(cost.ns()),
                     textOfNs(cost.compileMs * 1e6), textOfNs(cost.packMs * 1e6), textOfNs(cost.loadMs * 1e6),
                     textOfNs(cost.validateMs * 1e6));
}

void printOutcome(const ChangeStory &change) {
  if (!change.build)
    return fmt::print("  The trace ends before it was built.\n");
  const BuildReport &report = change.build->report;
  if (change.build->code != Code::Ok)
    return fmt::print("  The build failed ({}): {}. Steps went on with the generation before.\n",
                      codeName(change.build->code), change.build->message);
  fmt::print("  Built generation {}: {} kernels{}, compile {}, packing {}, load {}, validation {} "
             "(error {:.2g}).\n",
             report.generation, report.kernelsBuilt, report.cacheHit ? " (from the cache)" : "",
             textOfNs(report.compileMs * 1e6), textOfNs(report.packMs * 1e6), textOfNs(report.loadMs * 1e6),
             textOfNs(report.validateMs * 1e6), report.validateError);
  if (change.judgement)
    fmt::print("  {}: {}.\n", change.judgement->kept ? "Kept" : "Rolled back", change.judgement->text);
}

void printDecision(const Timeline &timeline, const DecisionRecord &record) {
  const LayerStatistics &seen = record.statistics;
  fmt::print("Decision {} at {:.2f} s, layer {}: {} ({}: {})\n", record.id, static_cast<double>(record.nowNs) * 1e-9,
             seen.layer, sentenceOf(record.verdict), verdictName(record.verdict), reasonName(record.reason));
  fmt::print("  Why: {}.\n", record.text);
  fmt::print("  Routing: steps of up to {} tokens, {} of them looked at; {} of the pairs go "
             "elsewhere than planned "
             "for (chance explains {}); the busiest expert has {:.1f} times the mean.\n",
             seen.bucket, seen.steps, textOfShare(seen.totalVariation), textOfShare(seen.noise), seen.imbalance);
  const Prediction &predicted = record.prediction;
  fmt::print("  Predicted per step: live plan {}, best new table {}, best re-packing {}, best plan {}.\n",
             textOfNs(predicted.liveNs), textOfNs(predicted.tableNs), textOfNs(predicted.reuseNs),
             textOfNs(predicted.bestNs));
  if (isChange(record.considered) && record.gainNs > 0 && !record.causes.empty()) {
    fmt::print("  Considered: {}, {} a step faster ({}), costing {}; repaid in {:.0f} steps.\n",
               verdictName(record.considered), textOfNs(record.gainNs), textOfShare(record.gain), costText(record.cost),
               record.repaySteps);
    for (const Cause &cause : record.causes)
      fmt::print("    {:<13} {:>10}  {}\n", cause.name, textOfNs(-cause.gainNs), cause.text);
  }
  if (const ChangeStory *change = timeline.storyOf(record))
    printOutcome(*change);
  fmt::print("\n");
}

} // namespace

int explainCommand(const TraceFile &trace, std::optional<uint64_t> decision, Format format) {
  Timeline timeline = timelineOf(trace);
  nlohmann::ordered_json json = {{"schema", "moec.trace-decisions"}, {"schema_version", 1}};
  json["decisions"] = nlohmann::ordered_json::array();
  bool found = false;
  for (const TraceLine &line : trace.lines) {
    const auto *record = std::get_if<DecisionRecord>(&line.event);
    if (!record || (decision && record->id != *decision))
      continue;
    found = true;
    if (format == Format::Text)
      printDecision(timeline, *record);
    else
      json["decisions"].push_back(nlohmann::ordered_json::parse(line.text, nullptr, false));
  }
  if (decision && !found)
    return fail(makeError(Code::InvalidArgument, "the trace has no decision {}; it has {}", *decision,
                          timeline.decisions.size()));
  if (format == Format::Json)
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  else if (!found)
    fmt::print("{}\n", trace.gaps.empty() ? "The trace holds no decision: routing was always as planned for."
                                          : "What is left of the trace holds no decision.");
  return 0;
}

} // namespace moec
