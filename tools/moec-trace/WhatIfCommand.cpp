#include "tools/moec-trace/Commands.h"

#include "compiler/core/Try.h"
#include "runtime/recompile/Text.h"
#include "runtime/trace/WhatIf.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace moec {
namespace {

using Json = nlohmann::ordered_json;
using Values = std::vector<std::pair<std::string, std::string>>;

/// The last row is no policy that could have been had.
struct Row {
  const char *kind; // "recorded", "same", "off", "tried", "best"
  std::string name;
  Values values;
  WhatIfRun run;
};

/// "key=value" at its first "=". Error: InvalidArgument (no "=", nothing before or behind it).
Result<std::pair<std::string, std::string>> split(const std::string &text) {
  const size_t at = text.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size())
    return makeError(Code::InvalidArgument, "'{}': expected KEY=VALUE", text);
  return std::pair(text.substr(0, at), text.substr(at + 1));
}

/// What the user wants tried: all of --set together, and that with each value of --sweep.
Result<std::vector<Values>> wantedTries(const WhatIfOptions &options) {
  Values set;
  for (const std::string &text : options.set) {
    Result<std::pair<std::string, std::string>> value = split(text);
    MOEC_TRY(value.status());
    set.push_back(*value);
  }
  if (options.sweep.empty())
    return set.empty() ? std::vector<Values>() : std::vector<Values>{set};
  Result<std::pair<std::string, std::string>> sweep = split(options.sweep);
  MOEC_TRY(sweep.status());
  std::vector<Values> tries;
  const std::string &list = sweep->second;
  for (size_t from = 0; from <= list.size();) {
    const size_t comma = std::min(list.find(',', from), list.size());
    tries.push_back(set);
    tries.back().emplace_back(sweep->first, list.substr(from, comma - from));
    from = comma + 1;
  }
  return tries;
}

std::string nameOf(const Values &values) {
  std::vector<std::string> texts;
  for (const auto &[key, value] : values)
    texts.push_back(key + "=" + value);
  return fmt::format("{}", fmt::join(texts, " "));
}

Result<std::vector<Row>> tryAll(const TraceFile &trace, const WhatIf &whatIf, const WhatIfOptions &options) {
  Result<std::vector<Values>> tries = wantedTries(options);
  MOEC_TRY(tries.status());
  std::vector<Row> rows = {{"same", "the same, tried", {}, {}}, {"off", "no change at all", {{"mode", "off"}}, {}}};
  for (const Values &values : *tries)
    rows.push_back({"tried", nameOf(values), values, {}});
  std::vector<PolicySetup> setups;
  for (const Row &row : rows) {
    Result<PolicySetup> setup = changedSetup(trace.setup, row.values);
    MOEC_TRY(setup.status());
    setups.push_back(std::move(*setup));
  }
  std::vector<WhatIfRun> runs;
  for (size_t i = 0; i < rows.size(); ++i) {
    runs.push_back(whatIf.tried(setups[i]));
    rows[i].run = runs.back();
  }
  // One setup for each set of limits: what else a policy is told does not change what the planner finds.
  const auto plansAlike = [](const PolicySetup &a, const PolicySetup &b) { return a.layers == b.layers; };
  setups.erase(std::unique(setups.begin(), setups.end(), plansAlike), setups.end());
  rows.push_back({"best", "each window's best plan, free", {}, whatIf.best(setups, runs)});
  rows.insert(rows.begin(), {"recorded", "as recorded", {}, whatIf.recorded()});
  return rows;
}

/// Steps and what building took of their time, over those of the recorded policy, tried.
double ofTheSame(const std::vector<Row> &rows, const Row &row) {
  const double same = rows[1].run.totalNs();
  return same > 0 ? row.run.totalNs() / same : 1;
}

void printTable(const std::vector<Row> &rows) {
  constexpr const char *format = "{:<{}}  {:>7}  {:>8}  {:>4}  {:>6}  {:>6}  {:>10}  {:>10}  {:>11}\n";
  size_t width = 0;
  for (const Row &row : rows)
    width = std::max(width, row.name.size());
  fmt::print(format, "policy", width, "changes", "compiles", "kept", "undone", "failed", "steps", "building",
             "of the same");
  for (const Row &row : rows)
    fmt::print(format, row.name, width, row.run.changes, row.run.compiles, row.run.kept, row.run.rolledBack,
               row.run.failedBuilds, textOfNs(row.run.stepNs), textOfNs(row.run.buildNs),
               fmt::format("{:.3f}", ofTheSame(rows, row)));
}

/// What a reader must know before he believes a row.
void printNotes(const WhatIf &whatIf) {
  fmt::print(
      "\nCompare your tries with 'the same, tried'. What 'as recorded' differs from it by is what the cost model "
      "does not know.\n");
  const WhatIfRun &did = whatIf.recorded();
  if (did.rolledBack + did.failedBuilds > 0)
    fmt::print("Of the recorded changes {} measured worse and were undone, {} could not be built; in a try all are as "
               "good as predicted.\n",
               did.rolledBack, did.failedBuilds);
  if (whatIf.hookAnswers() > 0)
    fmt::print("User code answered {} times in this run; tries do not ask it.\n", whatIf.hookAnswers());
  if (whatIf.measuredNs() > 0)
    fmt::print("Recorded steps measured {}, where the model says {}.\n", textOfNs(whatIf.measuredNs()),
               textOfNs(whatIf.predictedOfMeasuredNs()));
}

void printText(const WhatIf &whatIf, const std::vector<Row> &rows) {
  fmt::print("{} forwards of layers. Times are the cost model's, for the recorded routing on each run's plans;\n"
             "'of the same' counts steps, and what building took of their time.\n\n",
             whatIf.steps());
  printTable(rows);
  printNotes(whatIf);
}

void printJson(const WhatIf &whatIf, const std::vector<Row> &rows) {
  Json json = {{"schema", "moec.trace-what-if"},
               {"schema_version", 1},
               {"steps", whatIf.steps()},
               {"measured_ns", whatIf.measuredNs()},
               {"predicted_of_measured_ns", whatIf.predictedOfMeasuredNs()},
               {"hook_answers", whatIf.hookAnswers()},
               {"runs", Json::array()}};
  for (const Row &row : rows) {
    Json values = Json::object();
    for (const auto &[key, value] : row.values)
      values[key] = value;
    json["runs"].push_back({{"kind", row.kind},
                            {"policy", row.name},
                            {"values", values},
                            {"changes", row.run.changes},
                            {"compiles", row.run.compiles},
                            {"kept", row.run.kept},
                            {"rolled_back", row.run.rolledBack},
                            {"failed_builds", row.run.failedBuilds},
                            {"step_ns", row.run.stepNs},
                            {"build_ns", row.run.buildNs},
                            {"paid_ns", row.run.paidNs},
                            {"of_the_same", ofTheSame(rows, row)}});
  }
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

} // namespace

int whatIfCommand(const TraceFile &trace, const WhatIfOptions &options, Format format) {
  Result<WhatIf> whatIf = WhatIf::of(trace);
  if (!whatIf)
    return fail(whatIf.status());
  Result<std::vector<Row>> rows = tryAll(trace, *whatIf, options);
  if (!rows)
    return fail(rows.status());
  format == Format::Json ? printJson(*whatIf, *rows) : printText(*whatIf, *rows);
  return 0;
}

std::string whatIfKeys() {
  constexpr size_t most = 100; // columns
  std::string text = "Keys:";
  size_t column = text.size();
  for (const std::string &key : setupKeys()) {
    const bool wraps = column + key.size() + 1 > most;
    text += (wraps ? "\n  " : " ") + key;
    column = (wraps ? 2 : column + 1) + key.size();
  }
  return text;
}

} // namespace moec
