#include "runtime/trace/Events.h"

#include "runtime/trace/EventsJson.h"

namespace moec {

namespace {

// Error texts may hold any bytes; a line must be valid UTF-8, and dump() would throw.
std::string dumped(const OrderedJson &json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

OrderedJson eventOf(uint64_t n, const char *name) { return {{"n", n}, {"event", name}}; }

OrderedJson toJson(const LayerStatistics &seen) {
  return {{"bucket", seen.bucket},
          {"steps", seen.steps},
          {"typical", moec::toJson(seen.typical)},
          {"total_variation", seen.totalVariation},
          {"noise", seen.noise},
          {"imbalance", seen.imbalance},
          {"drifted", seen.drifted}};
}

OrderedJson toJson(const Prediction &prediction) {
  return {{"live_ns", prediction.liveNs},
          {"table_ns", prediction.tableNs},
          {"reuse_ns", prediction.reuseNs},
          {"best_ns", prediction.bestNs},
          {"regret_ns", prediction.regretNs}};
}

OrderedJson toJson(const ChangeCost &cost) {
  return {{"compile_ms", cost.compileMs},
          {"pack_ms", cost.packMs},
          {"load_ms", cost.loadMs},
          {"validate_ms", cost.validateMs}};
}

struct Writer {
  uint64_t n;

  OrderedJson operator()(const CountsEvent &event) const {
    const Window &window = event.window;
    OrderedJson json = eventOf(n, "counts");
    json["now_ns"] = event.nowNs;
    json["layer"] = window.layer;
    json["bucket"] = window.bucket;
    json["steps"] = window.steps;
    json["tokens"] = window.tokens;
    json["pairs"] = window.pairs;
    json["peak"] = window.peak;
    json["specimens"] = OrderedJson::array();
    for (const Histogram &step : window.specimens)
      json["specimens"].push_back(moec::toJson(step));
    json["spilled_pairs"] = window.spilledPairs;
    json["median_ns"] = window.medianNs;
    json["generation"] = window.generation;
    return json;
  }

  OrderedJson operator()(const HookEvent &event) const {
    OrderedJson json = eventOf(n, "hook");
    json["layer"] = event.layer;
    json["hook"] = event.isTrigger ? "trigger" : "policy";
    if (event.isTrigger)
      json["fired"] = event.fired;
    else
      json["verdict"] = verdictName(event.verdict);
    return json;
  }

  OrderedJson operator()(const TickEvent &event) const {
    OrderedJson json = eventOf(n, "tick");
    json["now_ns"] = event.nowNs;
    json["requested"] = event.requested;
    return json;
  }

  OrderedJson operator()(const PredictionRecord &record) const {
    OrderedJson json = eventOf(n, "prediction");
    json["layer"] = record.statistics.layer;
    json["statistics"] = toJson(record.statistics);
    json["prediction"] = toJson(record.prediction);
    json["needed_ns"] = record.neededNs;
    return json;
  }

  OrderedJson operator()(const DecisionRecord &record) const {
    OrderedJson json = eventOf(n, "decision");
    json["id"] = record.id;
    json["now_ns"] = record.nowNs;
    json["layer"] = record.statistics.layer;
    json["verdict"] = verdictName(record.verdict);
    json["considered"] = verdictName(record.considered);
    json["reason"] = reasonName(record.reason);
    json["text"] = record.text;
    json["statistics"] = toJson(record.statistics);
    json["prediction"] = toJson(record.prediction);
    json["gain_ns"] = record.gainNs;
    json["gain"] = record.gain;
    json["cost"] = toJson(record.cost);
    json["repay_steps"] = record.repaySteps;
    json["from"] = record.fromConfig;
    json["to"] = record.toConfig;
    json["causes"] = OrderedJson::array();
    for (const Cause &cause : record.causes)
      json["causes"].push_back({{"name", cause.name}, {"text", cause.text}, {"gain_ns", cause.gainNs}});
    if (record.plan)
      json["plan"] = moec::toJson(*record.plan);
    return json;
  }

  OrderedJson operator()(const BuildOutcome &outcome) const {
    OrderedJson json = eventOf(n, "build");
    json["now_ns"] = outcome.nowNs;
    json["code"] = static_cast<int>(outcome.code);
    json["status"] = codeName(outcome.code);
    json["message"] = outcome.message;
    json["generation"] = outcome.report.generation;
    json["kernels_built"] = outcome.report.kernelsBuilt;
    json["cache_hit"] = outcome.report.cacheHit;
    json["compile_ms"] = outcome.report.compileMs;
    json["pack_ms"] = outcome.report.packMs;
    json["load_ms"] = outcome.report.loadMs;
    json["validate_ms"] = outcome.report.validateMs;
    json["validate_error"] = outcome.report.validateError;
    json["packed_bytes"] = outcome.report.packedBytes;
    return json;
  }

  OrderedJson operator()(const SwapEvent &event) const {
    OrderedJson json = eventOf(n, "swap");
    json["now_ns"] = event.nowNs;
    json["generation"] = event.generation;
    json["from"] = event.from;
    return json;
  }

  OrderedJson operator()(const Measured &measured) const {
    OrderedJson json = eventOf(n, "measured");
    json["now_ns"] = measured.nowNs;
    json["generation"] = measured.generation;
    json["pairs"] = measured.pairs;
    json["ratio"] = measured.ratio;
    json["low"] = measured.low;
    json["high"] = measured.high;
    return json;
  }

  OrderedJson operator()(const JudgementRecord &record) const {
    OrderedJson json = eventOf(n, "judgement");
    json["now_ns"] = record.nowNs;
    json["generation"] = record.generation;
    json["kept"] = record.kept;
    json["predicted_gain"] = record.predictedGain;
    json["measured_gain"] = record.measuredGain;
    json["measured_low"] = record.measuredLow;
    json["measured_high"] = record.measuredHigh;
    json["text"] = record.text;
    return json;
  }

  OrderedJson operator()(const RollbackEvent &event) const {
    OrderedJson json = eventOf(n, "rollback");
    json["now_ns"] = event.nowNs;
    json["generation"] = event.generation;
    json["to"] = event.to;
    return json;
  }

  OrderedJson operator()(const ErrorEvent &event) const {
    OrderedJson json = eventOf(n, "error");
    json["now_ns"] = event.nowNs;
    json["where"] = event.where;
    json["message"] = event.message;
    return json;
  }

  OrderedJson operator()(const EndEvent &event) const {
    OrderedJson json = eventOf(n, "end");
    json["now_ns"] = event.nowNs;
    json["samples"] = event.samples;
    json["skipped"] = event.skipped;
    json["dropped_lines"] = event.droppedLines;
    return json;
  }
};

} // namespace

std::string traceLine(uint64_t n, const TraceEvent &event) { return dumped(std::visit(Writer{n}, event)); }

std::string traceHeader(const TraceInfo &info, const PolicySetup &setup) {
  OrderedJson json = {{"schema", kDecisionTraceSchema}, {"schema_version", kTraceVersion},
                      {"build_id", info.buildId},       {"run", info.run},
                      {"segment", info.segment},        {"mode", modeName(setup.mode)},
                      {"policy", toJson(setup.config)}, {"facts", toJson(setup.facts)}};
  json["calibration"] = toJson(setup.calibration);
  json["live_generation"] = setup.liveGeneration;
  json["known_configs"] = setup.knownConfigs;
  json["layers"] = OrderedJson::array();
  for (const LayerSetup &layer : setup.layers)
    json["layers"].push_back({{"layer", layer.layer},
                              {"shape", toJson(layer.shape)},
                              {"generic", toJson(layer.generic)},
                              {"live", toJson(layer.live)},
                              {"planned_for", toJson(layer.plannedFor)},
                              {"limits", toJson(layer.limits)}});
  return dumped(json);
}

} // namespace moec
