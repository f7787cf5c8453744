#include "runtime/trace/WhatIf.h"

#include "compiler/core/Try.h"
#include "runtime/recompile/Policy.h"
#include "runtime/trace/RecordedHooks.h"

#include <algorithm>
#include <map>
#include <optional>

namespace moec {
namespace {

/// A run's sums.
class Ledger {
public:
  /// The window's steps on the policy's live plans; those of layers that are being measured half on the plans before.
  void add(const Policy &policy, const Window &window) {
    const LayerPlan &live = policy.livePlan(window.layer);
    const auto before = measured.find(window.layer);
    double ns = 0, beforeNs = 0;
    for (const Histogram &step : window.specimens) {
      ns += policy.predict(window.layer, live, step);
      beforeNs += before == measured.end() ? 0 : policy.predict(window.layer, before->second, step);
    }
    const double each = window.specimens.empty() ? 0 : window.steps / static_cast<double>(window.specimens.size());
    run.steps += window.steps;
    if (before == measured.end()) {
      run.stepNs += ns * each;
      return;
    }
    run.stepNs += (ns + beforeNs) / 2 * each;
    measuredSteps += window.steps;
    measuredNs += ns * each;
    incumbentNs += beforeNs * each;
  }

  /// From now on steps alternate between the plans in flight and those before.
  void beginMeasuring(const Policy &policy) {
    measuredSteps = 0;
    measuredNs = incumbentNs = 0;
    for (const auto &[layer, change] : policy.inFlight())
      measured.emplace(layer, change.before);
  }
  /// Steps of changed layers since then, and their times on the new plans over those before.
  uint64_t stepsMeasured() const { return measuredSteps; }
  double ratio() const { return incumbentNs > 0 ? measuredNs / incumbentNs : 1; }
  bool measuring() const { return !measured.empty(); }

  void judged(const JudgementRecord &judgement) {
    measured.clear();
    ++(judgement.kept ? run.kept : run.rolledBack);
  }

  WhatIfRun run;

private:
  std::map<uint32_t, LayerPlan> measured; // the plans before, of layers whose new ones are measured
  uint64_t measuredSteps = 0;
  double measuredNs = 0, incumbentNs = 0;
};

double processorNs(const BuildReport &report) {
  return ChangeCost{report.compileMs, report.packMs, report.loadMs, report.validateMs}.ns();
}

/// Costs of which the last ones measured count.
CostModel lastCosts(PolicyConfig config) {
  config.costSmoothing = 1;
  return CostModel(config);
}

/// Follows the recorded events, and learns what builds cost.
class Recorded {
public:
  explicit Recorded(const TraceFile &trace)
      : costs(lastCosts(trace.setup.config)), policy(trace.setup, hooks.hooks(trace)) {
    for (const TraceLine &line : trace.lines)
      step(line.event);
  }

  Ledger ledger;
  CostModel costs;

private:
  void step(const TraceEvent &event) {
    if (const auto *counts = std::get_if<CountsEvent>(&event)) {
      ledger.add(policy, counts->window);
      policy.observe(counts->window);
    } else if (const auto *hook = std::get_if<HookEvent>(&event)) {
      hooks.add(*hook);
    } else if (const auto *tick = std::get_if<TickEvent>(&event)) {
      policy.decide(tick->nowNs, tick->requested);
    } else if (const auto *outcome = std::get_if<BuildOutcome>(&event)) {
      built(*outcome);
    } else if (const auto *swap = std::get_if<SwapEvent>(&event)) {
      ++ledger.run.changes;
      policy.swapped(swap->nowNs);
      ledger.beginMeasuring(policy);
    } else if (const auto *measured = std::get_if<Measured>(&event)) {
      ledger.judged(policy.judge(*measured));
    }
  }

  void built(const BuildOutcome &outcome) {
    if (outcome.code == Code::Ok) {
      costs.learn(outcome.report, policy.sizeInFlight());
      ledger.run.compiles += outcome.report.kernelsBuilt > 0;
      ledger.run.buildNs += processorNs(outcome.report);
    } else {
      ++ledger.run.failedBuilds;
    }
    policy.built(outcome);
  }

  RecordedHooks hooks;
  Policy policy;
};

/// Decides for itself over the recorded windows.
class Hypothetical {
public:
  Hypothetical(const TraceFile &trace, PolicySetup setup, const CostModel &costs)
      : off(setup.mode == LoopMode::Off), policy(std::move(setup)), costs(costs) {
    for (size_t i = 0; i < trace.lines.size(); ++i)
      step(trace, i);
  }

  Ledger ledger;

private:
  struct Build {
    double doneNs = 0; // costs of a trace may be any number
    BuildReport report;
  };

  void step(const TraceFile &trace, size_t index) {
    const TraceEvent &event = trace.lines[index].event;
    if (const auto *tick = std::get_if<TickEvent>(&event))
      requested |= tick->requested;
    const auto *counts = std::get_if<CountsEvent>(&event);
    if (!counts)
      return;
    finishBuild(counts->nowNs);
    ledger.add(policy, counts->window);
    policy.observe(counts->window);
    if (!off && endsRound(trace, index))
      decide(counts->nowNs);
  }

  /// Whether the loop's next round begins behind this line: windows of one round follow each other within microseconds.
  static bool endsRound(const TraceFile &trace, size_t index) {
    constexpr int64_t roundNs = 1'000'000;
    const auto *next =
        index + 1 < trace.lines.size() ? std::get_if<CountsEvent>(&trace.lines[index + 1].event) : nullptr;
    return !next || next->nowNs > std::get<CountsEvent>(trace.lines[index].event).nowNs + roundNs;
  }

  void decide(int64_t nowNs) {
    // The fewest pairs of steps that tell a plain difference, and those left out before them (Measurement): without a
    // machine's noise every difference is plain.
    constexpr uint32_t pairs = 12 + 4;
    if (ledger.measuring() && ledger.stepsMeasured() >= 2 * pairs * policy.inFlight().size()) {
      const double ratio = ledger.ratio();
      ledger.judged(policy.judge({nowNs, generation, pairs, ratio, ratio, ratio}));
    }
    if (building)
      return;
    bool changing = false;
    for (const DecisionRecord &decision : policy.decide(nowNs, std::exchange(requested, false)).decisions)
      changing |= isChange(decision.verdict);
    if (changing)
      beginBuild(nowNs);
  }

  void beginBuild(int64_t nowNs) {
    const BuildSize size = policy.sizeInFlight();
    Build build;
    build.report.generation = ++generation;
    build.report.kernelsBuilt = size.compiled; // a number of layers: whether it is none is what counts
    build.report.packMs = costs.of(Verdict::Reuse, size.newlyPackedBytes).packMs;
    for (const auto &[layer, change] : policy.inFlight()) {
      const ChangeCost cost = costs.of(change.verdict, 0);
      build.report.compileMs += cost.compileMs;
      build.report.loadMs += cost.loadMs;
      build.report.validateMs += cost.validateMs;
    }
    build.doneNs = static_cast<double>(nowNs) + processorNs(build.report);
    ledger.run.buildNs += processorNs(build.report);
    ledger.run.compiles += size.compiled > 0;
    building = build;
  }

  void finishBuild(int64_t nowNs) {
    if (!building || building->doneNs > static_cast<double>(nowNs))
      return;
    policy.built({nowNs, Code::Ok, {}, building->report});
    policy.swapped(nowNs);
    ++ledger.run.changes;
    ledger.beginMeasuring(policy);
    building.reset();
  }

  const bool off;
  Policy policy;
  const CostModel &costs;
  std::optional<Build> building;
  uint64_t generation = 0;
  bool requested = false; // since the last round
};

Status whole(const TraceFile &trace) {
  return trace.gaps.empty() ? Status()
                            : makeError(Code::InvalidArgument, "cannot be run again: {}", trace.gaps.front());
}

double bestNs(const LayerContext &context, const LayerPlan &live, const Window &window) {
  const BucketMix part{window.bucket, window.steps, 1, typicalStep(window), window.peak, window.specimens};
  const Candidates found = findCandidates(context, live, {&part, 1});
  return std::min(predictPart(context, live, part), predictPart(context, found.best, part));
}

const LayerSetup *find(const PolicySetup &setup, uint32_t layer) {
  for (const LayerSetup &entry : setup.layers)
    if (entry.layer == layer)
      return &entry;
  return nullptr;
}

} // namespace

Result<WhatIfRun> recordedRun(const TraceFile &trace) {
  MOEC_TRY(whole(trace));
  return Recorded(trace).ledger.run;
}

Result<WhatIfRun> tryPolicy(const TraceFile &trace, PolicySetup setup) {
  MOEC_TRY(whole(trace));
  const Recorded recorded(trace);
  return Hypothetical(trace, std::move(setup), recorded.costs).ledger.run;
}

Result<WhatIfRun> clairvoyantRun(const TraceFile &trace) {
  MOEC_TRY(whole(trace));
  WhatIfRun run;
  for (const TraceLine &line : trace.lines) {
    const auto *counts = std::get_if<CountsEvent>(&line.event);
    const LayerSetup *setup = counts ? find(trace.setup, counts->window.layer) : nullptr;
    if (!setup)
      continue;
    run.steps += counts->window.steps;
    run.stepNs += counts->window.steps *
                  bestNs({*setup, trace.setup.facts, trace.setup.calibration}, setup->live, counts->window);
  }
  return run;
}

} // namespace moec
