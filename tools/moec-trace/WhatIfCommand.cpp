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

struct Row {
  std::string name;
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
  std::vector<Values> tries;
  if (!set.empty() && options.sweep.empty())
    tries.push_back(set);
  if (options.sweep.empty())
    return tries;
  Result<std::pair<std::string, std::string>> sweep = split(options.sweep);
  MOEC_TRY(sweep.status());
  for (size_t from = 0; from <= sweep->second.size();) {
    const size_t comma = std::min(sweep->second.find(',', from), sweep->second.size());
    tries.push_back(set);
    tries.back().emplace_back(sweep->first, sweep->second.substr(from, comma - from));
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

Status addTry(const TraceFile &trace, const std::string &name, const Values &values, std::vector<Row> &rows) {
  Result<PolicySetup> setup = changedSetup(trace.setup, values);
  MOEC_TRY(setup.status());
  Result<WhatIfRun> run = tryPolicy(trace, *setup);
  MOEC_TRY(run.status());
  rows.push_back({name, *run});
  return {};
}

Result<std::vector<Row>> tryAll(const TraceFile &trace, const WhatIfOptions &options) {
  Result<std::vector<Values>> tries = wantedTries(options);
  MOEC_TRY(tries.status());
  Result<WhatIfRun> recorded = recordedRun(trace);
  MOEC_TRY(recorded.status());
  std::vector<Row> rows = {{"as recorded", *recorded}};
  MOEC_TRY(addTry(trace, "the same, tried", {}, rows));
  MOEC_TRY(addTry(trace, "no change at all", {{"mode", "off"}}, rows));
  for (const Values &values : *tries)
    MOEC_TRY(addTry(trace, nameOf(values), values, rows));
  Result<WhatIfRun> best = clairvoyantRun(trace);
  MOEC_TRY(best.status());
  rows.push_back({"each window's best plan, free", *best});
  return rows;
}

double ofRecorded(const std::vector<Row> &rows, const Row &row) {
  return rows[0].run.stepNs > 0 ? row.run.stepNs / rows[0].run.stepNs : 1;
}

void printText(const std::vector<Row> &rows) {
  size_t width = 30;
  for (const Row &row : rows)
    width = std::max(width, row.name.size());
  fmt::print("{} forwards of layers; times are the cost model's, for recorded routing on each run's plans\n\n",
             rows[0].run.steps);
  fmt::print("{:<{}}  {:>7}  {:>8}  {:>4}  {:>6}  {:>10}  {:>11}  {:>10}\n", "policy", width, "changes", "compiles",
             "kept", "undone", "all steps", "of recorded", "building");
  for (const Row &row : rows)
    fmt::print("{:<{}}  {:>7}  {:>8}  {:>4}  {:>6}  {:>10}  {:>11}  {:>10}\n", row.name, width, row.run.changes,
               row.run.compiles, row.run.kept, row.run.rolledBack, textOfNs(row.run.stepNs),
               fmt::format("{:.3f}", ofRecorded(rows, row)), textOfNs(row.run.buildNs));
}

void printJson(const std::vector<Row> &rows) {
  Json json = {
      {"schema", "moec.trace-what-if"}, {"schema_version", 1}, {"steps", rows[0].run.steps}, {"runs", Json::array()}};
  for (const Row &row : rows)
    json["runs"].push_back({{"policy", row.name},
                            {"changes", row.run.changes},
                            {"compiles", row.run.compiles},
                            {"kept", row.run.kept},
                            {"rolled_back", row.run.rolledBack},
                            {"failed_builds", row.run.failedBuilds},
                            {"step_ns", row.run.stepNs},
                            {"of_recorded", ofRecorded(rows, row)},
                            {"build_ns", row.run.buildNs}});
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

} // namespace

int whatIfCommand(const TraceFile &trace, const WhatIfOptions &options, Format format) {
  Result<std::vector<Row>> rows = tryAll(trace, options);
  if (!rows)
    return fail(rows.status());
  format == Format::Json ? printJson(*rows) : printText(*rows);
  return 0;
}

} // namespace moec
