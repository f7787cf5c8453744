#include "runtime/trace/EventsRead.h"

#include "runtime/trace/EventsJson.h"

#include <array>
#include <set>

namespace moec {

namespace {

constexpr double mostNs = 1e18;
constexpr uint64_t mostLayers = 1u << 16;

int64_t readNow(const JsonValue &json) { return json["now_ns"].signedInteger(0, INT64_MAX / 4); }
uint32_t read32(const JsonValue &json, const char *key) {
  return static_cast<uint32_t>(json[key].integer(0, UINT32_MAX));
}
uint64_t read64(const JsonValue &json, const char *key) { return json[key].integer(0, UINT64_MAX); }

Verdict readVerdict(const JsonValue &json) {
  Result<Verdict> verdict = parseVerdict(json.text());
  if (!verdict)
    json.fail(verdict.status().message());
  return verdict ? *verdict : Verdict::Keep;
}

Reason readReason(const JsonValue &json) {
  std::string name = json.text();
  for (size_t i = 0; i <= static_cast<size_t>(Reason::HookRefused); ++i)
    if (name == reasonName(static_cast<Reason>(i)))
      return static_cast<Reason>(i);
  json.fail("unknown reason");
  return Reason::PlanFits;
}

/// Experts of the layer that a line is about; 0, with an error, where the header has no such layer.
uint32_t readExperts(const JsonValue &json, const PolicySetup &setup, uint32_t layer) {
  for (const LayerSetup &known : setup.layers)
    if (known.layer == layer)
      return known.shape.experts;
  json["layer"].fail(fmt::format("the header has no layer {}", layer));
  return 0;
}

LayerStatistics readStatistics(const JsonValue &json, uint32_t layer, uint32_t experts) {
  LayerStatistics seen;
  seen.layer = layer;
  seen.bucket = read32(json, "bucket");
  seen.steps = read32(json, "steps");
  seen.typical = readHistogram(json["typical"], experts);
  seen.totalVariation = json["total_variation"].number(0, 1);
  seen.noise = json["noise"].number(0, 1);
  seen.imbalance = json["imbalance"].number(0, mostNs);
  seen.drifted = json["drifted"].flag();
  return seen;
}

Prediction readPrediction(const JsonValue &json) {
  Prediction prediction;
  prediction.liveNs = json["live_ns"].number(0, mostNs);
  prediction.tableNs = json["table_ns"].number(0, mostNs);
  prediction.reuseNs = json["reuse_ns"].number(0, mostNs);
  prediction.bestNs = json["best_ns"].number(0, mostNs);
  prediction.regretNs = json["regret_ns"].number(0, mostNs);
  return prediction;
}

TraceEvent readCounts(const JsonValue &json, const PolicySetup &setup) {
  CountsEvent event;
  event.nowNs = readNow(json);
  Window &window = event.window;
  window.layer = read32(json, "layer");
  uint32_t experts = readExperts(json, setup, window.layer);
  window.bucket = read32(json, "bucket");
  window.steps = static_cast<uint32_t>(json["steps"].integer(1, 1u << 24));
  window.tokens = read32(json, "tokens");
  window.pairs = json["pairs"].integers<uint32_t>();
  window.peak = json["peak"].integers<uint32_t>();
  if (window.pairs.size() != experts || window.peak.size() != experts)
    json["pairs"].fail(fmt::format("expected pairs and peaks of {} experts", experts));
  JsonValue specimens = json["specimens"];
  for (size_t i = 0, count = specimens.size(); i < count; ++i)
    window.specimens.push_back(readHistogram(specimens.at(i), experts));
  window.spilledPairs = read64(json, "spilled_pairs");
  window.medianNs = read64(json, "median_ns");
  window.generation = read64(json, "generation");
  return event;
}

TraceEvent readHook(const JsonValue &json, const PolicySetup &) {
  HookEvent event;
  event.layer = read32(json, "layer");
  std::string hook = json["hook"].text();
  event.isTrigger = hook == "trigger";
  if (event.isTrigger)
    event.fired = json["fired"].flag();
  else if (hook == "policy")
    event.verdict = readVerdict(json["verdict"]);
  else
    json["hook"].fail("expected trigger or policy");
  return event;
}

TraceEvent readTick(const JsonValue &json, const PolicySetup &) {
  return TickEvent{readNow(json), json["requested"].flag()};
}

TraceEvent readPredictionRecord(const JsonValue &json, const PolicySetup &setup) {
  PredictionRecord record;
  uint32_t layer = read32(json, "layer");
  record.statistics = readStatistics(json["statistics"], layer, readExperts(json, setup, layer));
  record.prediction = readPrediction(json["prediction"]);
  record.neededNs = json["needed_ns"].number(0, mostNs);
  return record;
}

TraceEvent readDecision(const JsonValue &json, const PolicySetup &setup) {
  DecisionRecord record;
  record.id = read64(json, "id");
  record.nowNs = readNow(json);
  uint32_t layer = read32(json, "layer");
  uint32_t experts = readExperts(json, setup, layer);
  record.verdict = readVerdict(json["verdict"]);
  record.considered = readVerdict(json["considered"]);
  record.reason = readReason(json["reason"]);
  record.text = json["text"].text();
  record.statistics = readStatistics(json["statistics"], layer, experts);
  record.prediction = readPrediction(json["prediction"]);
  record.gainNs = json["gain_ns"].number();
  record.gain = json["gain"].number();
  JsonValue cost = json["cost"];
  record.cost = {cost["compile_ms"].number(0, mostNs), cost["pack_ms"].number(0, mostNs),
                 cost["load_ms"].number(0, mostNs), cost["validate_ms"].number(0, mostNs)};
  record.repaySteps = json["repay_steps"].number(0);
  record.fromConfig = json["from"].text();
  record.toConfig = json["to"].text();
  JsonValue causes = json["causes"];
  for (size_t i = 0, count = causes.size(); i < count; ++i)
    record.causes.push_back(
        {causes.at(i)["name"].text(), causes.at(i)["text"].text(), causes.at(i)["gain_ns"].number()});
  if (json.has("plan"))
    record.plan = readPlan(json["plan"], experts);
  return record;
}

TraceEvent readBuild(const JsonValue &json, const PolicySetup &) {
  BuildOutcome outcome;
  outcome.nowNs = readNow(json);
  outcome.code = static_cast<Code>(json["code"].integer(0, static_cast<uint64_t>(Code::DeviceLost)));
  outcome.message = json["message"].text();
  BuildReport &report = outcome.report;
  report.generation = read64(json, "generation");
  report.kernelsBuilt = read32(json, "kernels_built");
  report.cacheHit = json["cache_hit"].flag();
  report.compileMs = json["compile_ms"].number(0, mostNs);
  report.packMs = json["pack_ms"].number(0, mostNs);
  report.loadMs = json["load_ms"].number(0, mostNs);
  report.validateMs = json["validate_ms"].number(0, mostNs);
  report.validateError = json["validate_error"].number(0);
  report.packedBytes = read64(json, "packed_bytes");
  return outcome;
}

TraceEvent readSwap(const JsonValue &json, const PolicySetup &) {
  return SwapEvent{readNow(json), read64(json, "generation"), read64(json, "from")};
}

TraceEvent readMeasured(const JsonValue &json, const PolicySetup &) {
  Measured measured;
  measured.nowNs = readNow(json);
  measured.generation = read64(json, "generation");
  measured.pairs = read32(json, "pairs");
  measured.ratio = json["ratio"].number(0, mostNs);
  measured.low = json["low"].number(0, mostNs);
  measured.high = json["high"].number(0, mostNs);
  return measured;
}

TraceEvent readJudgement(const JsonValue &json, const PolicySetup &) {
  JudgementRecord record;
  record.nowNs = readNow(json);
  record.generation = read64(json, "generation");
  record.kept = json["kept"].flag();
  record.predictedGain = json["predicted_gain"].number();
  record.measuredGain = json["measured_gain"].number();
  record.measuredLow = json["measured_low"].number();
  record.measuredHigh = json["measured_high"].number();
  record.text = json["text"].text();
  return record;
}

TraceEvent readRollback(const JsonValue &json, const PolicySetup &) {
  return RollbackEvent{readNow(json), read64(json, "generation"), read64(json, "to")};
}

TraceEvent readError(const JsonValue &json, const PolicySetup &) {
  return ErrorEvent{readNow(json), json["where"].text(), json["message"].text()};
}

TraceEvent readEnd(const JsonValue &json, const PolicySetup &) {
  return EndEvent{readNow(json), read64(json, "samples"), read64(json, "skipped"), read64(json, "dropped_lines")};
}

struct Reader {
  const char *event;
  TraceEvent (*read)(const JsonValue &json, const PolicySetup &setup);
};
constexpr std::array<Reader, 12> readers = {{{"counts", readCounts},
                                             {"hook", readHook},
                                             {"tick", readTick},
                                             {"prediction", readPredictionRecord},
                                             {"decision", readDecision},
                                             {"build", readBuild},
                                             {"swap", readSwap},
                                             {"measured", readMeasured},
                                             {"judgement", readJudgement},
                                             {"rollback", readRollback},
                                             {"error", readError},
                                             {"end", readEnd}}};

void readLayers(const JsonValue &json, PolicySetup &setup) {
  if (json.size() > mostLayers)
    return json.fail(fmt::format("more than {} layers", mostLayers));
  std::set<uint32_t> seen;
  for (size_t i = 0, count = json.size(); i < count; ++i) {
    JsonValue entry = json.at(i);
    LayerSetup layer;
    layer.layer = static_cast<uint32_t>(entry["layer"].integer(0, mostLayers));
    layer.shape = readShape(entry["shape"]);
    layer.generic = readConfig(entry["generic"]);
    layer.live = readPlan(entry["live"], layer.shape.experts);
    layer.plannedFor = readHistogram(entry["planned_for"], layer.shape.experts);
    layer.limits = readLimits(entry["limits"]);
    if (!seen.insert(layer.layer).second)
      entry["layer"].fail(fmt::format("layer {} comes twice", layer.layer));
    setup.layers.push_back(std::move(layer));
  }
}

} // namespace

Result<TraceHeader> readTraceHeader(const std::string &line) {
  Result<JsonDocument> document = JsonDocument::parse(line, "trace header", Code::InvalidArgument);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  root.requireSchema(kDecisionTraceSchema, kTraceVersion);
  // Of another schema nothing else is worth a message.
  if (Status status = document->status(); !status.ok())
    return status;
  TraceHeader header;
  header.info.buildId = root["build_id"].text();
  header.info.run = read64(root, "run");
  header.info.segment = read32(root, "segment");
  if (Result<LoopMode> mode = parseMode(root["mode"].text()))
    header.setup.mode = *mode;
  else
    root["mode"].fail(mode.status().message());
  header.setup.config = readPolicyConfig(root["policy"]);
  header.setup.facts = readFacts(root["facts"]);
  header.setup.calibration = readCalibration(root["calibration"]);
  header.setup.liveGeneration = read64(root, "live_generation");
  JsonValue known = root["known_configs"];
  for (size_t i = 0, count = known.size(); i < count; ++i)
    header.setup.knownConfigs.push_back(known.at(i).text());
  readLayers(root["layers"], header.setup);
  if (Status status = document->status(); !status.ok())
    return status;
  return header;
}

Result<NumberedEvent> readTraceLine(const std::string &line, const PolicySetup &setup) {
  Result<JsonDocument> document = JsonDocument::parse(line, "event", Code::InvalidArgument);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  NumberedEvent numbered;
  numbered.n = read64(root, "n");
  std::string name = root["event"].text();
  bool known = false;
  for (const Reader &reader : readers)
    if (name == reader.event) {
      known = true;
      numbered.event = reader.read(root, setup);
    }
  if (!known)
    root["event"].fail(fmt::format("unknown event '{}'", name.substr(0, 40)));
  if (Status status = document->status(); !status.ok())
    return status;
  return numbered;
}

} // namespace moec
