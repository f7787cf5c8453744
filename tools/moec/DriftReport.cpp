#include "tools/moec/DriftReport.h"

#include "runtime/recompile/Text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <map>

namespace moec::tool {
namespace {

/// The share of a step's time that `speedup`, a ratio of tokens per second, saves.
double timeSaved(double speedup) { return 1 - 1 / speedup; }

nlohmann::json phasesJson(const DriftRun &run) {
  nlohmann::json phases = {{{"name", "before"}, {"tokens_per_s", run.beforeTokensPerSecond}}};
  for (const Answer &answer : run.answers.all()) {
    const Interval rate = intervalOf(answer.tokensPerSecond);
    nlohmann::json rows = nlohmann::json::array();
    for (const LayerPlans &plans : answer.plans)
      rows.push_back(plans.begin()->second.config.cpu.tileRows);
    phases.push_back({{"name", answer.name},
                      {"tokens_per_s", rate.median},
                      {"tokens_per_s_low", rate.low},
                      {"tokens_per_s_high", rate.high},
                      {"rows", answer.plans.size() == 1 ? rows[0] : rows}});
  }
  return phases;
}

void addRatio(nlohmann::json &json, const DriftRun &run, const char *a, const char *b) {
  const Interval ratio = run.answers.ratio(a, b);
  const std::string name = fmt::format("{}_over_{}", a, b);
  json[name] = ratio.median, json[name + "_low"] = ratio.low, json[name + "_high"] = ratio.high;
}

void printJson(const DriftRun &run) {
  const nlohmann::json kind = {{"schema", "moec.bench-drift"}, {"schema_version", 2}};
  nlohmann::json json = kind;
  json.update({{"model", run.bench.model->name()},
               {"drift", run.options.drift},
               {"pack_budget", run.options.packBudget},
               {"target", run.bench.facts.device == DeviceKind::Cuda ? run.bench.facts.arch.c_str()
                                                                     : isaName(run.bench.facts.isa)},
               {"threads", run.bench.facts.threads},
               {"tokens_before", run.scenario.tokensBefore()},
               {"tokens_after", run.scenario.tokensAfter()},
               {"repeats", run.answers.all().front().tokensPerSecond.size()}});
  json["generations"] = run.stats.changes + 1;
  json["changes"] = run.stats.changes;
  json["swapped"] = run.swapped;
  json["tables"] = run.loop.tables;
  json["kernels_built"] = run.loop.kernelsBuilt;
  json["compile_ms"] = run.loop.compileMs;
  json["pack_ms"] = run.loop.packMs;
  json["predicted_gain"] = run.loop.predictedGain;
  // Without a change the live plan is the old one: what differs between the two phases is the machine's noise.
  json["measured_gain"] = run.swapped ? timeSaved(run.answers.ratio("swapped", "drifted").median) : 0.0;
  addRatio(json, run, "swapped", "drifted");
  addRatio(json, run, "swapped", "retabled");
  addRatio(json, run, "swapped", "prebuilt");
  addRatio(json, run, "drifted", "generic");
  if (const Exhaustive found = run.answers.exhaustive(); found.ran)
    json["exhaustive"] = {{"height_sets", found.sets},
                          {"measured", found.measured},
                          {"best", found.best},
                          {"swapped_over_best", found.swappedOverBest.median},
                          {"swapped_over_best_low", found.swappedOverBest.low},
                          {"swapped_over_best_high", found.swappedOverBest.high}};
  json["monitor_share"] = run.monitorShare;
  json["rolled_back"] = run.stats.rolledBack;
  json["last_verdict"] = run.loop.lastVerdict;
  json["last_reason"] = run.loop.lastText;
  json["refusals"] = run.loop.refusals;
  if (run.options.format == "json") {
    json["phases"] = phasesJson(run);
  } else {
    for (nlohmann::json phase : phasesJson(run)) {
      phase.update(kind);
      phase["record"] = "phase";
      fmt::print("{}\n", phase.dump());
    }
    json["record"] = "summary";
  }
  fmt::print("{}\n", json.dump());
}

std::string tilesOf(const LayerConfig &config) {
  return config.device == DeviceKind::Cpu ? textOfHeights(config.cpu.tileRows)
                                          : fmt::format("{} {}", config.cuda.gateUp.text(), config.cuda.down.text());
}

void printText(const DriftRun &run) {
  const TargetFacts &facts = run.bench.facts;
  const bool gpu = facts.device == DeviceKind::Cuda;
  const std::string where =
      gpu ? fmt::format("{} ({})", facts.gpu.model, facts.arch)
          : fmt::format("pack budget {}, {} on {} threads", run.options.packBudget, isaName(facts.isa), facts.threads);
  fmt::print("{}, drift '{}', {}: {} tokens a step, then {}\n\n", run.bench.model->name(), run.options.drift, where,
             run.scenario.tokensBefore(), run.scenario.tokensAfter());
  fmt::print("{:<22} {:>10}   {}\n", "", "tokens/s", gpu ? "tiles of gate-up and down" : "tile heights");
  fmt::print("{:<22} {:>10.0f}\n", "before the drift", run.beforeTokensPerSecond);
  const std::map<std::string, const char *> labels = {{"drifted", "drifted, old plan"},
                                                      {"generic", "drifted, generation 0"},
                                                      {"retabled", "drifted, new table"},
                                                      {"swapped", "drifted, after swap"},
                                                      {"prebuilt", "drifted, K prebuilt"}};
  for (const Answer &answer : run.answers.all()) {
    auto label = labels.find(answer.name);
    const std::string heights = answer.plans.size() == 1
                                    ? tilesOf(answer.plans[0].begin()->second.config)
                                    : fmt::format("{} sets, one chosen per step", answer.plans.size());
    fmt::print("{:<22} {:>10.0f}   {}\n", label == labels.end() ? answer.name : label->second,
               median(answer.tokensPerSecond), heights);
  }
  fmt::print("\n{} generation change(s), {} rolled back; {} kernels built in {:.0f} ms, packing {:.0f} ms\n",
             run.stats.changes, run.stats.rolledBack, run.loop.kernelsBuilt, run.loop.compileMs, run.loop.packMs);
  const Interval gain = run.answers.ratio("swapped", "drifted");
  if (run.swapped)
    fmt::print("time saved: predicted {:.1f} %, measured {:.1f} % ({:.1f} .. {:.1f}) against the old plan, {:.1f} % "
               "against a new table alone\n",
               100 * run.loop.predictedGain, 100 * timeSaved(gain.median), 100 * timeSaved(gain.low),
               100 * timeSaved(gain.high), 100 * timeSaved(run.answers.ratio("swapped", "retabled").median));
  else
    fmt::print("no change went live: the plan after is the plan before, and differences above ({:+.1f} %) are the "
               "machine's noise\n",
               100 * (gain.median - 1));
  if (const Exhaustive found = run.answers.exhaustive(); found.ran)
    fmt::print("of {} sets of tiles the {} that predict least were measured; best {}: after swap is at {:.3f} ({:.3f} "
               ".. {:.3f})\n",
               found.sets, found.measured, found.best, found.swappedOverBest.median, found.swappedOverBest.low,
               found.swappedOverBest.high);
  for (const Cause &cause : run.loop.causes)
    fmt::print("  because: {} ({:.0f} us a step)\n", cause.text, cause.gainNs / 1e3);
  if (run.loop.lastVerdict.empty())
    fmt::print("last decision: none\n");
  else
    fmt::print("last decision: {}: {}\n", run.loop.lastVerdict, run.loop.lastText);
  fmt::print("monitor: {:.4f} % of the step time\n", 100 * run.monitorShare);
  if (!run.options.trace.empty())
    fmt::print("trace: {} (see: moec-trace explain {})\n", run.options.trace, run.options.trace);
}

} // namespace

void printDrift(const DriftRun &run) { run.options.format == "text" ? printText(run) : printJson(run); }

} // namespace moec::tool
