#include "runtime/trace/WhatIf.h"

#include "compiler/core/Try.h"
#include "runtime/recompile/Policy.h"
#include "runtime/trace/RecordedHooks.h"

#include <algorithm>
#include <map>
#include <optional>

namespace moec {
namespace {

double processorNs(const BuildReport &report) {
  return ChangeCost{report.compileMs, report.packMs, report.loadMs, report.validateMs}.ns();
}

/// Costs of which the last ones measured count.
CostModel lastCosts(PolicyConfig config) {
  config.costSmoothing = 1;
  return CostModel(config);
}

/// A run's sums.
class Ledger {
public:
  /// The window's steps on the policy's live plans; those that a measurement needs half on the plans before.
  void add(const Policy &policy, const Window &window) {
    const double ns = stepNs(policy, policy.livePlan(window.layer), window);
    const auto before = measured.find(window.layer);
    double halfMoreNs = 0; // that steps on the plan before take longer
    if (before != measured.end()) {
      const double beforeNs = stepNs(policy, before->second, window);
      const auto steps = static_cast<double>(std::min<uint64_t>(window.steps, mostSteps - measuredSteps));
      measuredSteps += static_cast<uint64_t>(steps);
      measuredNs += ns * steps;
      incumbentNs += beforeNs * steps;
      halfMoreNs = (beforeNs - ns) * steps / 2;
    }
    run.windowNs.push_back(ns * window.steps + halfMoreNs);
    run.stepNs += run.windowNs.back();
  }

  /// Kernels or tables were built for the change in flight.
  void built(const Policy &policy, const BuildReport &report) {
    const double ns = processorNs(report);
    run.compiles += report.kernelsBuilt > 0;
    run.buildNs += ns;
    run.paidNs += policy.paidNs(ns);
  }

  /// The change in flight is live: from now on steps alternate between its plans and those before, until it is judged;
  /// `most` of them at most.
  void swapped(const Policy &policy, uint64_t most) {
    ++run.changes;
    mostSteps = most;
    measuredSteps = 0;
    measuredNs = incumbentNs = 0;
    for (const auto &[layer, change] : policy.inFlight())
      measured.emplace(layer, change.before);
  }
  bool measuring() const { return !measured.empty(); }
  bool enough() const { return measuredSteps >= mostSteps; }
  uint32_t pairs() const { return static_cast<uint32_t>(measuredSteps / 2); }
  /// Times on the new plans over those before.
  double ratio() const { return incumbentNs > 0 ? measuredNs / incumbentNs : 1; }
  void judged(const JudgementRecord &judgement) {
    measured.clear();
    ++(judgement.kept ? run.kept : run.rolledBack);
  }

  WhatIfRun run;

private:
  /// Of one of the window's steps.
  static double stepNs(const Policy &policy, const LayerPlan &plan, const Window &window) {
    double ns = 0;
    for (const Histogram &step : window.specimens)
      ns += policy.predict(window.layer, plan, step);
    return window.specimens.empty() ? 0 : ns / static_cast<double>(window.specimens.size());
  }

  std::map<uint32_t, LayerPlan> measured; // the plans before, of layers whose new ones are measured
  uint64_t mostSteps = 0, measuredSteps = 0;
  double measuredNs = 0, incumbentNs = 0;
};

/// Follows the recorded events, and learns what builds cost and when the loop was asked.
class Recorded {
public:
  explicit Recorded(const TraceFile &trace)
      : costs(lastCosts(trace.setup.config)), isRound(trace.lines.size()), policy(trace.setup, hooks.hooks(trace)) {
    for (size_t i = 0; i < trace.lines.size(); ++i) {
      isRound[i] = endsRound(trace, i);
      step(trace.lines[i].event);
    }
  }

  Ledger ledger;
  CostModel costs;
  double slowness = 1;
  std::vector<bool> isRound;
  uint64_t steps = 0, answers = 0;
  double timedNs = 0, predictedNs = 0;

private:
  /// Windows of one round are followed by a tick (and answers of hooks before it); of one that was asked for `tried`
  /// makes the round. While something is built the loop only drains, and windows' times must tell.
  bool endsRound(const TraceFile &trace, size_t line) const {
    constexpr int64_t gapNs = 1'000'000;
    const auto *counts = std::get_if<CountsEvent>(&trace.lines[line].event);
    if (!counts)
      return false;
    size_t next = line + 1;
    while (next < trace.lines.size() && std::holds_alternative<HookEvent>(trace.lines[next].event))
      ++next;
    if (next == trace.lines.size())
      return true;
    const TraceEvent &event = trace.lines[next].event;
    if (const auto *more = std::get_if<CountsEvent>(&event))
      return buildSinceNs && more->nowNs > counts->nowNs + gapNs;
    const auto *tick = std::get_if<TickEvent>(&event);
    return !tick || !tick->requested;
  }

  void step(const TraceEvent &event) {
    if (const auto *counts = std::get_if<CountsEvent>(&event)) {
      add(counts->window);
    } else if (const auto *hook = std::get_if<HookEvent>(&event)) {
      ++answers;
      hooks.add(*hook);
    } else if (const auto *tick = std::get_if<TickEvent>(&event)) {
      policy.decide(tick->nowNs, tick->requested);
      if (!policy.inFlight().empty() && !ledger.measuring())
        buildSinceNs = tick->nowNs;
    } else if (const auto *outcome = std::get_if<BuildOutcome>(&event)) {
      built(*outcome);
    } else if (const auto *swap = std::get_if<SwapEvent>(&event)) {
      policy.swapped(swap->nowNs);
      ledger.swapped(policy, UINT64_MAX); // the trace says when it is judged
    } else if (const auto *measured = std::get_if<Measured>(&event)) {
      ledger.judged(policy.judge(*measured));
    }
  }

  void add(const Window &window) {
    ledger.add(policy, window);
    policy.observe(window);
    steps += window.steps;
    if (window.medianNs > 0) {
      timedNs += static_cast<double>(window.medianNs) * window.steps;
      predictedNs += ledger.run.windowNs.back();
    }
  }

  void built(const BuildOutcome &outcome) {
    const double ns = processorNs(outcome.report);
    if (outcome.code == Code::Ok) {
      costs.learn(outcome.report, policy.sizeInFlight());
      ledger.built(policy, outcome.report);
      if (buildSinceNs && ns > 0)
        slowness = static_cast<double>(outcome.nowNs - *buildSinceNs) / ns; // below 1 where several threads build
    } else {
      ++ledger.run.failedBuilds;
    }
    buildSinceNs.reset();
    policy.built(outcome);
  }

  RecordedHooks hooks;
  Policy policy;
  std::optional<int64_t> buildSinceNs;
};

/// Decides for itself over the recorded windows.
class Hypothetical {
public:
  Hypothetical(const PolicySetup &setup, const CostModel &costs, double slowness)
      : off(setup.mode == LoopMode::Off), policy(setup), costs(costs), slowness(slowness) {}

  void observe(const CountsEvent &counts, bool isRound) {
    finishBuild(counts.nowNs);
    ledger.add(policy, counts.window);
    policy.observe(counts.window);
    if (isRound)
      decide(counts.nowNs, false);
  }
  void request(int64_t nowNs) {
    finishBuild(nowNs);
    decide(nowNs, true);
  }

  Ledger ledger;

private:
  struct Build {
    double doneNs = 0; // costs of a trace may be any number
    BuildReport report;
  };

  void decide(int64_t nowNs, bool requested) {
    if (off)
      return;
    judge(nowNs);
    if (building) { // the loop's thread waits for it
      waiting |= requested;
      return;
    }
    bool changing = false;
    for (const DecisionRecord &decision : policy.decide(nowNs, std::exchange(waiting, false) || requested).decisions)
      changing |= isChange(decision.verdict);
    if (changing)
      beginBuild(nowNs);
  }

  void judge(int64_t nowNs) {
    constexpr int64_t deadlineNs = 30'000'000'000; // RecompilerOptions::measureDeadlineNs
    if (!ledger.measuring() || (!ledger.enough() && nowNs - swappedNs < deadlineNs))
      return;
    const double ratio = ledger.ratio();
    ledger.judged(policy.judge({nowNs, generation, ledger.pairs(), ratio, ratio, ratio}));
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
    build.doneNs = static_cast<double>(nowNs) + slowness * processorNs(build.report);
    building = build;
  }

  void finishBuild(int64_t nowNs) {
    if (!building || building->doneNs > static_cast<double>(nowNs))
      return;
    ledger.built(policy, building->report);
    policy.built({nowNs, Code::Ok, {}, building->report});
    building.reset();
    // The fewest pairs of steps that tell a plain difference, and those of each layer that are left out before them
    // (Measurement): without a machine's noise every difference is plain.
    const uint64_t pairs = 12 + 4 * policy.inFlight().size();
    policy.swapped(nowNs);
    ledger.swapped(policy, 2 * pairs);
    swappedNs = nowNs;
  }

  const bool off;
  Policy policy;
  const CostModel &costs;
  const double slowness;
  std::optional<Build> building;
  uint64_t generation = 0;
  int64_t swappedNs = 0;
  bool waiting = false; // a request, for the end of a build
};

/// The best that the planner finds for one window within `setup`'s limits, as a sum over its steps.
double bestNs(const PolicySetup &setup, const Window &window) {
  const auto layer = std::find_if(setup.layers.begin(), setup.layers.end(),
                                  [&](const LayerSetup &entry) { return entry.layer == window.layer; });
  const LayerContext context{*layer, setup.facts, setup.calibration};
  const BucketMix part{window.bucket, window.steps, 1, typicalStep(window), window.peak, window.specimens};
  const Candidates found = findCandidates(context, layer->live, {&part, 1});
  double least = predictPart(context, layer->live, part);
  for (const LayerPlan *plan : {&found.table, &found.reuse, &found.best})
    least = std::min(least, predictPart(context, *plan, part));
  return least * window.steps;
}

} // namespace

WhatIf::WhatIf(const TraceFile &trace) : trace(&trace), costs(trace.setup.config) {
  Recorded recorded(trace);
  costs = recorded.costs;
  slowness = recorded.slowness;
  isRound = std::move(recorded.isRound);
  did = std::move(recorded.ledger.run);
  allSteps = recorded.steps;
  hooks = recorded.answers;
  timedNs = recorded.timedNs;
  predictedNs = recorded.predictedNs;
}

Result<WhatIf> WhatIf::of(const TraceFile &trace) {
  if (!trace.gaps.empty())
    return makeError(Code::InvalidArgument, "cannot be run again: {}", trace.gaps.front());
  return WhatIf(trace);
}

WhatIfRun WhatIf::tried(const PolicySetup &setup) const {
  Hypothetical loop(setup, costs, slowness);
  for (size_t i = 0; i < trace->lines.size(); ++i) {
    const TraceEvent &event = trace->lines[i].event;
    if (const auto *counts = std::get_if<CountsEvent>(&event))
      loop.observe(*counts, isRound[i]);
    else if (const auto *tick = std::get_if<TickEvent>(&event); tick && tick->requested)
      loop.request(tick->nowNs);
  }
  return std::move(loop.ledger.run);
}

WhatIfRun WhatIf::best(std::span<const PolicySetup> setups, std::span<const WhatIfRun> runs) const {
  WhatIfRun best;
  for (const TraceLine &line : trace->lines) {
    const auto *counts = std::get_if<CountsEvent>(&line.event);
    if (!counts)
      continue;
    double least = did.windowNs[best.windowNs.size()];
    for (const WhatIfRun &run : runs)
      least = std::min(least, run.windowNs[best.windowNs.size()]);
    for (const PolicySetup &setup : setups)
      least = std::min(least, bestNs(setup, counts->window));
    best.windowNs.push_back(least);
    best.stepNs += least;
  }
  return best;
}

} // namespace moec
