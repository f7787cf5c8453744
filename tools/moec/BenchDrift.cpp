// `moec bench --drift`: a scenario through session and loop, then what each answer to the drift is worth, side by side.
#include "runtime/Version.h"
#include "runtime/recompile/Recompiler.h"
#include "runtime/trace/DecisionTrace.h"
#include "tools/moec/BenchSession.h"
#include "tools/moec/Scenario.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>

namespace moec::tool {
namespace {

using Clock = std::chrono::steady_clock;
double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// What the loop did, collected from its events.
struct LoopLog {
  Mutex mutex;
  std::vector<DecisionRecord> decisions MOEC_GUARDED_BY(mutex);
  std::vector<BuildReport> builds MOEC_GUARDED_BY(mutex);
  std::vector<JudgementRecord> judgements MOEC_GUARDED_BY(mutex);
  std::atomic<double> regretNs{0};

  void operator()(const TraceEvent &event) {
    Lock lock(mutex);
    if (auto *prediction = std::get_if<PredictionRecord>(&event))
      regretNs.store(prediction->prediction.regretNs);
    if (auto *decision = std::get_if<DecisionRecord>(&event))
      decisions.push_back(*decision);
    if (auto *built = std::get_if<BuildOutcome>(&event); built && built->code == Code::Ok)
      builds.push_back(built->report);
    if (auto *judged = std::get_if<JudgementRecord>(&event))
      judgements.push_back(*judged);
  }
};

/// One line on a terminal that is written over; nothing elsewhere.
class LiveLine {
public:
  explicit LiveLine(bool forced) : terminal(isatty(2)), on(forced || terminal) {}
  ~LiveLine() { end(); }

  void show(const char *part, uint64_t step, double tokensPerSecond, const Recompiler &loop, double regretNs) {
    if (!on || secondsSince(last) < (terminal ? 0.1 : 1.0))
      return;
    last = Clock::now();
    fmt::print(stderr, "{}step {:>5}  {:<8} {:>8.0f} tokens/s  regret {:>8.2f} ms  generation {}{}", terminal ? "\r" : "",
               step, part, tokensPerSecond, regretNs / 1e6, loop.stats().liveGeneration, loop.busy() ? "  building or measuring" : "");
    fmt::print(stderr, "{}", terminal ? "\x1b[K" : "\n");
    std::fflush(stderr);
    dirty = terminal;
  }
  void end() {
    if (dirty)
      fmt::print(stderr, "\n");
    dirty = false;
  }

private:
  bool terminal, on, dirty = false;
  Clock::time_point last{};
};

/// The whole run of a scenario.
class DriftBench {
public:
  DriftBench(const BenchOptions &options, BenchSession &bench, const Scenario &scenario)
      : options(options), bench(bench), scenario(scenario), layer(bench.session->layers().front()), line(options.live) {}

  Status run() {
    if (Status status = openTrace(); !status.ok())
      return status;
    startLoop();
    Status status = playParts();
    bench.session->setObserver(nullptr);
    loop->stop();
    line.end();
    if (!status.ok())
      return status;
    if (Status compared = compareAnswers(); !compared.ok())
      return compared;
    options.format == "json" ? printJson() : printText();
    return {};
  }

private:
  RecompilerOptions loopOptions() {
    RecompilerOptions loopOptions;
    loopOptions.layers = bench.session->layers();
    loopOptions.policy.limits = bench.session->limits(layer);
    loopOptions.profile.defaultTokens = scenario.tokensBefore();
    loopOptions.liveGeneration = bench.session->liveGeneration();
    loopOptions.windowSteps = 8;        // a run of seconds, not of hours: look often
    loopOptions.windowAgeNs = 500'000'000;
    loopOptions.measurePairs = 24;
    loopOptions.measureDeadlineNs = 4'000'000'000;
    loopOptions.niceness = 5;
    loopOptions.listener = [this](const TraceEvent &event) { log(event); };
    return loopOptions;
  }

  Status openTrace() {
    if (options.trace.empty())
      return {};
    LineWriterOptions writer;
    writer.path = options.trace;
    Result<std::unique_ptr<LineWriter>> opened = openDecisionTrace(
        writer, {.buildId = versionText(), .run = 1}, Recompiler::setupOf(bench.session->host(), loopOptions()));
    if (!opened)
      return opened.status();
    trace = std::move(*opened);
    return {};
  }

  void startLoop() {
    loop = std::make_unique<Recompiler>(bench.session->host(), loopOptions(), trace.get());
    bench.session->setObserver(loop->monitor().observer());
    startStatus = loop->start();
  }

  /// Steady traffic, then drifted traffic until the loop has made up its mind or the time is over.
  Status playParts() {
    if (!startStatus.ok())
      return startStatus;
    double steady = std::max(2.0, options.seconds / 4);
    if (Status status = play(false, steady); !status.ok())
      return status;
    planBefore = bench.session->host().livePlan(layer);
    beforeGeneration = bench.session->liveGeneration();
    return play(true, options.seconds);
  }

  Status play(bool drifted, double seconds) {
    Clock::time_point start = Clock::now();
    // A change that is on its way when the time is over may finish: a busy machine starves the background thread.
    auto goesOn = [&] { return secondsSince(start) < seconds || (drifted && loop->busy() && secondsSince(start) < seconds + 8); };
    for (uint32_t index = 0; goesOn(); ++index, ++steps) {
      const RoutedStep &routed = scenario.step(drifted, index);
      Result<uint64_t> ns = bench.run(routed);
      if (!ns)
        return ns.status();
      if (!drifted)
        beforeNs.push_back(static_cast<double>(*ns));
      line.show(drifted ? "drifted" : "before", steps, routed.tokens / (static_cast<double>(*ns) * 1e-9), *loop, log.regretNs);
    }
    return {};
  }

  /// Builds a generation for every answer to the drift and times them in turn on the drifted traffic.
  Status compareAnswers() {
    GenerationHost &host = bench.session->host();
    LayerShape shape = host.layerShape(layer);
    TargetFacts facts = host.facts();
    Calibration calibration = host.calibration();
    PlanLimits limits = bench.session->limits(layer);
    Histogram now = driftedHistogram();
    livePlan = host.livePlan(layer);
    swapped = bench.session->liveGeneration() != beforeGeneration;
    add("drifted", planBefore);
    add("generic", planGenericLayer(shape, scenario.tokensBefore(), facts, calibration, limits));
    LayerPlan retabled = planBefore;
    LayerPlan table = planTable(shape, now, facts, calibration, limits, planBefore.config);
    retabled.table.slots = table.table.slots;
    retabled.table.order = table.table.order;
    add("retabled", retabled);
    add("swapped", livePlan);
    if (options.exhaustive)
      addExhaustive(shape, now, facts, calibration, limits);
    return timeAnswers(now);
  }

  /// Every set of tile heights that the planner weighs differently for this load, with the best table each.
  void addExhaustive(const LayerShape &shape, const Histogram &now, const TargetFacts &facts, const Calibration &calibration,
                     const PlanLimits &limits) {
    CpuConfig config = livePlan.config.cpu;
    uint16_t tallest = static_cast<uint16_t>(facts.maxTileRows());
    for (uint16_t a = 2; a < tallest; ++a)
      for (uint16_t b = static_cast<uint16_t>(a + 1); b < tallest; b += 3) {
        config.tileRows = {tallest, b, a, 1};
        add(fmt::format("rows={}.{}.{}.1", tallest, b, a), planTable(shape, now, facts, calibration, limits, config));
      }
    add("planned", planLayer(shape, now, facts, calibration, limits));
  }

  Histogram driftedHistogram() const {
    std::vector<uint64_t> sum(bench.shape.experts, 0);
    constexpr uint32_t count = 16;
    for (uint32_t index = 0; index < count; ++index)
      for (int32_t id : scenario.step(true, index * 7).ids)
        ++sum[static_cast<size_t>(id)];
    return typicalStep(uint64_t{count} * scenario.tokensAfter(), sum, count);
  }

  void add(const std::string &name, const LayerPlan &plan) { answers.push_back({name, plan, 0, {}}); }

  Status timeAnswers(const Histogram &now) {
    GenerationHost &host = bench.session->host();
    for (Answer &answer : answers) {
      Result<BuildReport> built = host.build({{layer, answer.plan}}, {{layer, now}}, [] { return false; });
      if (!built)
        return built.status().withContext("building '{}' to compare", answer.name);
      answer.generation = built->generation;
    }
    // One block per answer and repeat, in turn, so that what drifts slowly on the machine meets all alike.
    for (uint32_t repeat = 0; repeat <= options.repeats; ++repeat)
      for (Answer &answer : answers) {
        if (Status status = host.publish(answer.generation); !status.ok())
          return status;
        Clock::time_point start = Clock::now();
        uint64_t tokens = 0;
        constexpr double blockSeconds = 0.3;
        for (uint32_t index = 0; index < 2 || secondsSince(start) < blockSeconds; ++index) {
          const RoutedStep &routed = scenario.step(true, index);
          if (Result<uint64_t> ns = bench.run(routed); !ns)
            return ns.status();
          tokens += routed.tokens;
        }
        if (repeat > 0)
          answer.tokensPerSecond.push_back(static_cast<double>(tokens) / secondsSince(start));
      }
    return {};
  }

  struct Answer {
    std::string name;
    LayerPlan plan;
    uint64_t generation = 0;
    std::vector<double> tokensPerSecond; // per repeat
  };

  const Answer &answer(const char *name) const {
    for (const Answer &candidate : answers)
      if (candidate.name == name)
        return candidate;
    return answers.front();
  }
  /// Median over repeats of a's tokens/s over b's of the same repeat.
  double ratio(const char *a, const char *b) const {
    std::vector<double> ratios;
    for (size_t repeat = 0; repeat < answer(a).tokensPerSecond.size(); ++repeat)
      ratios.push_back(answer(a).tokensPerSecond[repeat] / answer(b).tokensPerSecond[repeat]);
    return median(ratios);
  }
  double beforeTokensPerSecond() const {
    return beforeNs.empty() ? 0 : scenario.tokensBefore() / (median(beforeNs) * 1e-9);
  }
  /// Monitor time per layer step, over the median step.
  double monitorShare() const {
    SessionStats stats = bench.session->stats();
    return stats.forwardNs ? static_cast<double>(stats.monitorNs) / static_cast<double>(stats.forwardNs) : 0;
  }

  struct Summary {
    uint32_t kernelsBuilt = 0;
    double compileMs = 0, packMs = 0, predictedGain = 0;
    std::string lastVerdict, lastText;
    std::vector<Cause> causes;
  };
  Summary summary() {
    Lock lock(log.mutex);
    Summary summary;
    for (const BuildReport &report : log.builds)
      summary.kernelsBuilt += report.kernelsBuilt, summary.compileMs += report.compileMs, summary.packMs += report.packMs;
    for (const DecisionRecord &decision : log.decisions) {
      summary.lastVerdict = verdictName(decision.verdict), summary.lastText = decision.text;
      if (isChange(decision.verdict))
        summary.predictedGain = decision.gain, summary.causes = decision.causes;
    }
    return summary;
  }

  void printJson() {
    Summary loopSummary = summary();
    RecompilerStats stats = loop->stats();
    nlohmann::json json = {{"schema", "moec.bench-drift"}, {"schema_version", 1}, {"model", bench.model->name()},
                           {"drift", options.drift}, {"pack_budget", options.packBudget}, {"target", isaName(bench.facts.isa)},
                           {"threads", bench.facts.threads}, {"tokens_before", scenario.tokensBefore()},
                           {"tokens_after", scenario.tokensAfter()}};
    json["phases"].push_back({{"name", "before"}, {"tokens_per_s", beforeTokensPerSecond()}});
    for (const Answer &candidate : answers)
      json["phases"].push_back({{"name", candidate.name}, {"tokens_per_s", median(candidate.tokensPerSecond)},
                                {"rows", candidate.plan.config.cpu.tileRows}});
    json["generations"] = stats.changes + 1;
    json["swapped"] = swapped;
    json["tables"] = countTables();
    json["kernels_built"] = loopSummary.kernelsBuilt;
    json["compile_ms"] = loopSummary.compileMs;
    json["pack_ms"] = loopSummary.packMs;
    json["predicted_gain"] = loopSummary.predictedGain;
    // Without a change the live plan is the old one: what differs between the two phases is the machine's noise.
    json["measured_gain"] = swapped ? ratio("swapped", "drifted") - 1 : 0.0;
    json["swapped_over_drifted"] = ratio("swapped", "drifted");
    json["swapped_over_retabled"] = ratio("swapped", "retabled");
    json["drifted_over_generic"] = ratio("drifted", "generic");
    json["monitor_share"] = monitorShare();
    json["rolled_back"] = stats.rolledBack;
    json["last_verdict"] = loopSummary.lastVerdict;
    json["last_reason"] = loopSummary.lastText;
    fmt::print("{}\n", json.dump());
  }

  uint32_t countTables() {
    Lock lock(log.mutex);
    uint32_t count = 0;
    for (const DecisionRecord &decision : log.decisions)
      count += decision.verdict == Verdict::Retable;
    return count;
  }

  void printText() {
    Summary loopSummary = summary();
    RecompilerStats stats = loop->stats();
    fmt::print("{}, drift '{}', pack budget {}, {} on {} threads: {} tokens a step, then {}\n\n", bench.model->name(),
               options.drift, options.packBudget, isaName(bench.facts.isa), bench.facts.threads, scenario.tokensBefore(),
               scenario.tokensAfter());
    fmt::print("{:<22} {:>10}   {}\n", "", "tokens/s", "tile heights");
    fmt::print("{:<22} {:>10.0f}\n", "before the drift", beforeTokensPerSecond());
    const std::map<std::string, const char *> labels = {{"drifted", "drifted, old plan"}, {"generic", "drifted, generation 0"},
                                                        {"retabled", "drifted, new table"}, {"swapped", "drifted, after swap"}};
    for (const Answer &candidate : answers) {
      auto label = labels.find(candidate.name);
      fmt::print("{:<22} {:>10.0f}   {}\n", label == labels.end() ? candidate.name : label->second,
                 median(candidate.tokensPerSecond), candidate.plan.config.text());
    }
    fmt::print("\n{} generation change(s), {} rolled back; {} kernels built in {:.0f} ms, packing {:.0f} ms\n", stats.changes,
               stats.rolledBack, loopSummary.kernelsBuilt, loopSummary.compileMs, loopSummary.packMs);
    if (swapped)
      fmt::print("gain predicted {:+.1f} %, measured {:+.1f} % over the old plan ({:+.1f} % over a new table alone)\n",
                 100 * loopSummary.predictedGain, 100 * (ratio("swapped", "drifted") - 1), 100 * (ratio("swapped", "retabled") - 1));
    else
      fmt::print("no change went live: the plan after is the plan before, and differences above ({:+.1f} %) are the machine's noise\n",
                 100 * (ratio("swapped", "drifted") - 1));
    for (const Cause &cause : loopSummary.causes)
      fmt::print("  because: {} ({:.0f} us a step)\n", cause.text, cause.gainNs / 1e3);
    fmt::print("last decision: {}: {}\n", loopSummary.lastVerdict, loopSummary.lastText);
    fmt::print("monitor: {:.4f} % of the step time\n", 100 * monitorShare());
    if (!options.trace.empty())
      fmt::print("trace: {} (see: moec-trace explain {})\n", options.trace, options.trace);
  }

  const BenchOptions &options;
  BenchSession &bench;
  const Scenario &scenario;
  const uint32_t layer;
  LiveLine line;
  LoopLog log;
  std::unique_ptr<LineWriter> trace;
  std::unique_ptr<Recompiler> loop;
  Status startStatus;
  uint64_t steps = 0, beforeGeneration = 0;
  bool swapped = false;
  std::vector<double> beforeNs;
  LayerPlan planBefore, livePlan;
  std::vector<Answer> answers;
};

} // namespace

Status runBenchDrift(const BenchOptions &options) {
  // The scenario's sizes decide what the session must hold, and depend on the shape alone.
  Result<BenchSession> probe = BenchSession::describe(options);
  if (!probe)
    return probe.status();
  Result<Scenario> scenario = Scenario::make(options.drift, probe->shape, options.tokens);
  if (!scenario)
    return scenario.status();
  Result<BenchSession> bench = BenchSession::open(options, scenario->maxTokens(), scenario->tokensBefore());
  if (!bench)
    return bench.status();
  return DriftBench(options, *bench, *scenario).run();
}

} // namespace moec::tool
