#include "tools/moec-trace/Commands.h"

#include "tools/common/Files.h"
#include "tools/moec-trace/Timeline.h"

#include <nlohmann/json.hpp>

extern const char *const kReportTemplate; // Report.html

namespace moec {

namespace {

using Json = nlohmann::ordered_json;

// A browser draws this many columns of a heat-map, and points of a line, without effort.
constexpr size_t mostColumns = 240;
constexpr size_t mostPoints = 1500;

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

/// Every so many-th index, so that at most `most` are left; the last one always.
template <typename Take> void thinned(size_t count, size_t most, Take take) {
  size_t stride = std::max<size_t>(1, (count + most - 1) / most);
  for (size_t i = 0; i < count; i += stride)
    take(i);
  if (count && (count - 1) % stride)
    take(count - 1);
}

/// Windows of a layer as columns of shares: all counts of a stretch of time, summed.
Json heatMapOf(const Timeline &timeline, const std::vector<const CountsEvent *> &counts) {
  Json columns = Json::array();
  size_t perColumn = std::max<size_t>(1, (counts.size() + mostColumns - 1) / mostColumns);
  for (size_t begin = 0; begin < counts.size(); begin += perColumn) {
    std::vector<uint64_t> pairs(counts[begin]->window.pairs.size(), 0);
    uint64_t total = 0;
    size_t end = std::min(counts.size(), begin + perColumn);
    for (size_t i = begin; i < end; ++i)
      for (size_t expert = 0; expert < pairs.size(); ++expert) {
        pairs[expert] += counts[i]->window.pairs[expert];
        total += counts[i]->window.pairs[expert];
      }
    Json shares = Json::array();
    // Ten-thousandths: what colours can show.
    for (uint64_t count : pairs)
      shares.push_back(total ? (count * 10000 + total / 2) / total : 0);
    double from = begin ? seconds(counts[begin - 1]->nowNs) : seconds(timeline.firstNs);
    columns.push_back({{"from", from},
                       {"to", seconds(counts[end - 1]->nowNs)},
                       {"shares", std::move(shares)},
                       {"generation", counts[end - 1]->window.generation}});
  }
  return columns;
}

Json driftOf(const Timeline &timeline, const std::vector<const PredictionRecord *> &records) {
  Json points = Json::array();
  thinned(records.size(), mostPoints, [&](size_t i) {
    const PredictionRecord &record = *records[i];
    points.push_back({{"t", seconds(timeline.predictedAt.at(&record))},
                      {"tv", record.statistics.totalVariation},
                      {"noise", record.statistics.noise},
                      {"imbalance", record.statistics.imbalance},
                      {"regret", record.prediction.regretNs * 1e-6},
                      {"needed", record.neededNs * 1e-6},
                      {"live", record.prediction.liveNs * 1e-6},
                      {"best", record.prediction.bestNs * 1e-6}});
  });
  return points;
}

Json stepTimesOf(const std::vector<const CountsEvent *> &counts) {
  Json points = Json::array();
  thinned(counts.size(), mostPoints, [&](size_t i) {
    const Window &window = counts[i]->window;
    if (window.medianNs)
      points.push_back({{"t", seconds(counts[i]->nowNs)},
                        {"ms", static_cast<double>(window.medianNs) * 1e-6},
                        {"bucket", window.bucket}});
  });
  return points;
}

Json decisionJson(const Timeline &timeline, const DecisionRecord &record) {
  Json json = {{"id", record.id},
               {"t", seconds(record.nowNs)},
               {"layer", record.statistics.layer},
               {"verdict", verdictName(record.verdict)},
               {"considered", verdictName(record.considered)},
               {"reason", reasonName(record.reason)},
               {"text", record.text},
               {"bucket", record.statistics.bucket},
               {"gain", record.gain},
               {"cost", record.cost.ns() * 1e-6},
               {"repay", record.repaySteps},
               {"from", record.fromConfig},
               {"to", record.toConfig},
               {"causes", Json::array()}};
  for (const Cause &cause : record.causes)
    json["causes"].push_back({{"name", cause.name}, {"text", cause.text}, {"ms", cause.gainNs * 1e-6}});
  if (const ChangeStory *change = timeline.storyOf(record)) {
    json["outcome"] = change->outcome();
    if (change->swap)
      json["generation"] = change->swap->generation;
    if (change->judgement) {
      json["measured"] = change->judgement->measuredGain;
      json["low"] = change->judgement->measuredLow;
      json["high"] = change->judgement->measuredHigh;
    }
  }
  return json;
}

/// When each generation was live, and what led to it.
Json generationsOf(const TraceFile &trace, const Timeline &timeline) {
  Json spans = Json::array();
  auto begin = [&](uint64_t generation, int64_t ns, const char *verdict) {
    if (!spans.empty())
      spans.back()["to"] = seconds(ns);
    spans.push_back(
        {{"generation", generation}, {"from", seconds(ns)}, {"to", seconds(timeline.lastNs)}, {"verdict", verdict}});
  };
  begin(trace.setup.liveGeneration, timeline.firstNs, "start");
  const char *verdict = "change";
  for (const TraceLine &line : trace.lines) {
    if (const auto *decision = std::get_if<DecisionRecord>(&line.event); decision && isChange(decision->verdict))
      verdict = verdictName(decision->verdict);
    else if (const auto *swap = std::get_if<SwapEvent>(&line.event))
      begin(swap->generation, swap->nowNs, verdict);
    else if (const auto *rollback = std::get_if<RollbackEvent>(&line.event))
      begin(rollback->to, rollback->nowNs, "rollback");
  }
  return spans;
}

Json buildsOf(const Timeline &timeline) {
  Json builds = Json::array();
  for (const ChangeStory &change : timeline.changes) {
    if (!change.build)
      continue;
    const BuildReport &report = change.build->report;
    builds.push_back({{"from", seconds(change.decisions.front()->nowNs)},
                      {"to", seconds(change.build->nowNs)},
                      {"judged", change.judgement ? seconds(change.judgement->nowNs) : seconds(timeline.lastNs)},
                      {"generation", report.generation},
                      {"status", codeName(change.build->code)},
                      {"message", change.build->message},
                      {"compile", report.compileMs},
                      {"pack", report.packMs},
                      {"load", report.loadMs},
                      {"validate", report.validateMs},
                      {"kernels", report.kernelsBuilt},
                      {"outcome", change.outcome()}});
  }
  return builds;
}

Json reportOf(const TraceFile &trace) {
  Timeline timeline = timelineOf(trace);
  Json json = {{"build_id", trace.info.buildId},
               {"mode", modeName(trace.setup.mode)},
               {"target", trace.setup.facts.name},
               {"threads", trace.setup.facts.threads},
               {"from", seconds(timeline.firstNs)},
               {"to", seconds(timeline.lastNs)},
               {"steps", timeline.steps},
               {"drift_floor", trace.setup.config.driftFloor},
               {"min_gain", trace.setup.config.minGain},
               {"problems", trace.problems},
               {"gaps", trace.gaps}};
  json["generations"] = generationsOf(trace, timeline);
  json["builds"] = buildsOf(timeline);
  json["layers"] = Json::array();
  for (const LayerSetup &layer : trace.setup.layers)
    json["layers"].push_back({{"layer", layer.layer},
                              {"experts", layer.shape.experts},
                              {"heat", heatMapOf(timeline, timeline.counts[layer.layer])},
                              {"times", stepTimesOf(timeline.counts[layer.layer])},
                              {"drift", driftOf(timeline, timeline.predictions[layer.layer])}});
  json["decisions"] = Json::array();
  for (const DecisionRecord *record : timeline.decisions)
    json["decisions"].push_back(decisionJson(timeline, *record));
  return json;
}

/// JSON for the inside of a script element: "<" could end it, and some old line separators end a
/// string.
std::string scriptSafe(const Json &json) {
  std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace), safe;
  safe.reserve(text.size());
  for (char c : text)
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  return safe;
}

} // namespace

int renderCommand(const TraceFile &trace, const std::string &output) {
  std::string page = kReportTemplate;
  const std::string mark = "/*DATA*/null";
  size_t at = page.find(mark);
  if (at == std::string::npos)
    return fail(makeError(Code::Failure, "the report's template has no place for data"));
  page.replace(at, mark.size(), scriptSafe(reportOf(trace)));
  Status status = tool::writeOutput(output, page);
  return status.ok() ? 0 : fail(status);
}

} // namespace moec
