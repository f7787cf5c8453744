// `moec bench --drift`: a scenario through session and loop, then what each answer to the drift is worth, side by side.
#include "compiler/core/Profile.h"
#include "runtime/Version.h"
#include "runtime/recompile/Recompiler.h"
#include "runtime/trace/DecisionTrace.h"
#include "tools/moec/DriftReport.h"
#include "tools/moec/LiveLine.h"

#include <fmt/format.h>

#include <algorithm>
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
  std::atomic<bool> accumulating{false}; // by the last decision

  void operator()(const TraceEvent &event) {
    Lock lock(mutex);
    if (auto *prediction = std::get_if<PredictionRecord>(&event))
      regretNs.store(prediction->prediction.regretNs);
    if (auto *decision = std::get_if<DecisionRecord>(&event)) {
      decisions.push_back(*decision);
      accumulating.store(decision->reason == Reason::Accumulating);
    }
    if (auto *built = std::get_if<BuildOutcome>(&event); built && built->code == Code::Ok)
      builds.push_back(built->report);
    if (auto *judged = std::get_if<JudgementRecord>(&event))
      judgements.push_back(*judged);
  }
};

/// The whole run of a scenario.
class DriftBench {
public:
  DriftBench(const BenchOptions &options, BenchSession &bench, const Scenario &scenario)
      : options(options), bench(bench), scenario(scenario), layer(bench.session->layers().front()), line(options.live),
        answers(bench, scenario) {}

  Status run() {
    if (Status status = planForSteady(); !status.ok())
      return status.withContext("the plan for the steady part");
    if (Status status = openTrace(); !status.ok())
      return status;
    startLoop();
    Status status = playParts();
    const SessionStats watched = bench.session->stats();
    bench.session->setObserver(nullptr);
    loop->stop();
    line.end();
    if (!status.ok())
      return status;
    if (Status compared = compareAnswers(); !compared.ok())
      return compared;
    printDrift({options, bench, scenario, answers, summary(), loop->stats(), beforeTokensPerSecond(),
                monitorShare(watched), swapped});
    return checkTrace();
  }

private:
  RecompilerOptions loopOptions() {
    RecompilerOptions loopOptions;
    loopOptions.layers = bench.session->layers();
    loopOptions.profile = steady;
    loopOptions.liveGeneration = bench.session->liveGeneration();
    loopOptions.windowSteps = 8; // a run of seconds, not of hours: look often
    loopOptions.windowAgeNs = 500'000'000;
    loopOptions.measurePairs = 24;
    loopOptions.measureDeadlineNs = 4'000'000'000;
    loopOptions.idlePatienceNs = 1'000'000'000; // the run ends in seconds, whatever else the machine does
    loopOptions.niceness = 5;
    loopOptions.listener = [this](const TraceEvent &event) { log(event); };
    return loopOptions;
  }

  /// The run starts on a plan for its steady part, as a session has whose model was compiled with that profile: a drift
  /// is a change from what was planned for, and steady routing should change nothing.
  Status planForSteady() {
    GenerationHost &host = bench.session->host();
    constexpr uint32_t count = 16;
    std::vector<uint64_t> sum(bench.shape.experts, 0);
    Histogram peak{scenario.tokensBefore(), std::vector<uint32_t>(bench.shape.experts, 0)};
    for (uint32_t index = 0; index < count; ++index) {
      std::vector<uint32_t> pairs(bench.shape.experts, 0);
      for (int32_t id : scenario.step(false, index).ids)
        ++sum[static_cast<size_t>(id)], ++pairs[static_cast<size_t>(id)];
      for (size_t expert = 0; expert < pairs.size(); ++expert)
        peak.pairs[expert] = std::max(peak.pairs[expert], pairs[expert]);
    }
    const Histogram typical = typicalStep(uint64_t{count} * scenario.tokensBefore(), sum, count);
    std::map<uint32_t, LayerPlan> plans;
    for (uint32_t number : bench.session->layers()) {
      const PlanLimits limits = bench.session->limits(number);
      LayerPlan plan = planLayer(bench.shape, typical, host.facts(), host.calibration(), limits);
      plan.table.slots =
          planTable(bench.shape, peak, host.facts(), host.calibration(), limits, plan.config).table.slots;
      plans[number] = std::move(plan);
      steady.layers[number] = typical;
    }
    steady.defaultTokens = scenario.tokensBefore();
    Result<BuildReport> built = host.build(plans, steady.layers, [] { return false; });
    return built ? host.publish(built->generation) : built.status();
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

  /// A trace that is not whole is told of, also where the rest went well.
  Status checkTrace() { return trace ? trace->checkWhole() : Status(); }

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
    for (uint32_t number : bench.session->layers())
      plansBefore[number] = bench.session->host().livePlan(number);
    beforeGeneration = bench.session->liveGeneration();
    return play(true, options.seconds);
  }

  Status play(bool drifted, double seconds) {
    Clock::time_point start = Clock::now();
    // A change that is on its way when the time is over may finish, and one that is about to pay may come: a busy
    // machine starves the background thread, and its steps gather regret slowly.
    auto goesOn = [&] {
      const double spent = secondsSince(start);
      return spent < seconds || (drifted && spent < seconds + 8 && (loop->busy() || log.accumulating.load()));
    };
    for (uint32_t index = 0; goesOn(); ++index, ++steps) {
      const RoutedStep &routed = scenario.step(drifted, index);
      Result<uint64_t> ns = bench.run(routed);
      if (!ns)
        return ns.status();
      stepNs.push_back(static_cast<double>(*ns));
      if (!drifted)
        beforeNs.push_back(static_cast<double>(*ns));
      showStep(drifted ? "drifted" : "before", routed.tokens / (static_cast<double>(*ns) * 1e-9));
    }
    return {};
  }

  /// Builds a generation for every answer to the drift and times them in turn on the drifted traffic.
  Status compareAnswers() {
    GenerationHost &host = bench.session->host();
    const LayerShape &shape = bench.shape; // of all layers
    const TargetFacts facts = host.facts();
    const Calibration calibration = host.calibration();
    const Histogram typical = answers.typical();
    swapped = bench.session->liveGeneration() != beforeGeneration;
    answers.add("drifted", plansBefore);
    answers.addEverywhere("generic", [&](uint32_t number) {
      return planGenericLayer(shape, scenario.tokensBefore(), facts, calibration, host.limits(number));
    });
    answers.addEverywhere("retabled", [&](uint32_t number) {
      LayerPlan plan = plansBefore.at(number);
      const LayerTable table = planTable(shape, typical, facts, calibration, host.limits(number), plan.config).table;
      plan.table.slots = table.slots, plan.table.order = table.order;
      return plan;
    });
    answers.addEverywhere("swapped", [&](uint32_t number) { return host.livePlan(number); });
    answers.addPrebuilt(plansBefore);
    constexpr size_t runnersUpMeasured = 7;
    if (options.exhaustive)
      answers.addExhaustive(runnersUpMeasured);
    // A run without a search ends within `runSeconds`, in fewer repeats where the machine is busy.
    const Status timed = answers.time(options.repeats, options.exhaustive ? 1e9 : runSeconds - secondsSince(began),
                                      [this](const std::string &doing) { line.show(doing); });
    line.end();
    return timed;
  }

  double beforeTokensPerSecond() const {
    return beforeNs.empty() ? 0 : scenario.tokensBefore() / (median(beforeNs) * 1e-9);
  }
  /// What the monitor takes of a step (timed around each call of it), over the median watched step.
  double monitorShare(const SessionStats &watched) const {
    if (stepNs.empty())
      return 0;
    return static_cast<double>(watched.monitorNs) / static_cast<double>(stepNs.size()) / median(stepNs);
  }

  LoopSummary summary() {
    Lock lock(log.mutex);
    LoopSummary summary;
    for (const BuildReport &report : log.builds)
      summary.kernelsBuilt += report.kernelsBuilt, summary.compileMs += report.compileMs,
          summary.packMs += report.packMs;
    for (const DecisionRecord &decision : log.decisions) {
      summary.lastVerdict = verdictName(decision.verdict), summary.lastText = decision.text;
      const std::string reason = reasonName(decision.reason);
      std::vector<std::string> &refusals = summary.refusals;
      if (decision.verdict == Verdict::Refuse && std::find(refusals.begin(), refusals.end(), reason) == refusals.end())
        refusals.push_back(reason);
      summary.tables += decision.verdict == Verdict::Retable;
      if (isChange(decision.verdict))
        summary.causes = decision.causes;
    }
    summary.predictedGain = predictedGain(log.decisions);
    return summary;
  }

  /// Of all changes together, as a share of the time of a step through all layers: each layer's own gain after the
  /// other.
  double predictedGain(const std::vector<DecisionRecord> &decisions) const {
    std::map<uint32_t, double> left; // of a layer's time before its first change
    for (const DecisionRecord &decision : decisions)
      if (isChange(decision.verdict))
        left.try_emplace(decision.statistics.layer, 1).first->second *= 1 - decision.gain;
    double gain = 0;
    for (const auto &[number, share] : left)
      gain += 1 - share;
    return gain / static_cast<double>(bench.session->layers().size());
  }

  void showStep(const char *part, double tokensPerSecond) {
    if (line.isDue())
      line.show(fmt::format("step {:>5}  {:<8} {:>8.0f} tokens/s  regret {:>8.2f} ms  generation {}{}", steps, part,
                            tokensPerSecond, log.regretNs / 1e6, loop->stats().liveGeneration,
                            loop->busy() ? "  building or measuring" : ""));
  }

  static constexpr double runSeconds = 36;
  const Clock::time_point began = Clock::now();
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
  std::vector<double> stepNs, beforeNs; // of all watched steps, of those before the drift
  Profile steady;                       // what the run starts planned for
  LayerPlans plansBefore;
  DriftAnswers answers;
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
