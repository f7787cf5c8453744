// Decides what to do about routing that drifts: keep, re-table, reuse, compile or refuse. A state
// machine that is a pure function of what it is told: no clock, no environment, no libm, so a trace
// replays byte for byte.
#pragma once

#include "runtime/recompile/Candidates.h"
#include "runtime/recompile/CostModel.h"
#include "runtime/recompile/History.h"
#include "runtime/recompile/Records.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace moec {

/// One layer's part of a change that is being built or measured.
struct PlannedChange {
  Verdict verdict = Verdict::Keep;
  LayerPlan plan;
  Histogram plannedFor;
  LayerPlan before;
  Histogram beforeFor;
  double gainNs = 0; // predicted, per step
  double liveNs = 0; // predicted, per step
};

/// A ski rental, per layer: change when the regret accumulated since the last change exceeds the
/// measured cost of changing, and what it risks should routing turn back. Buckets are predicted
/// apart and weighed by how often they occur, since a layer has one plan for all.
///
/// One change (of one or more layers) is in flight at a time:
///   decide -> built -> swapped -> judge, or decide -> built with an error.
/// One thread.
class Policy {
public:
  struct Tick {
    std::vector<PredictionRecord> predictions; // of every layer with new windows
    std::vector<DecisionRecord> decisions;     // of those whose answer is a change, or another one than last time
  };

  explicit Policy(PolicySetup setup, PolicyHooks hooks = {});

  /// A window of a layer that the setup names; others are ignored.
  void observe(const Window &window);
  /// Weighs the layers that have been observed since they were weighed last and are due: routing
  /// has moved, or it was long ago (planning takes milliseconds of a core that steps could use).
  /// `requested`: somebody asked for a change, so accumulated regret, cool-down and rate limit do
  /// not count.
  Tick decide(int64_t nowNs, bool requested = false);

  /// The change in flight, by layer; empty when there is none.
  const std::map<uint32_t, PlannedChange> &inFlight() const { return changes; }
  /// What building it is about, for its cost.
  BuildSize sizeInFlight() const;
  /// Nanoseconds of steps that so much work beside them costs: on a CPU it takes one of a step's threads, on a GPU's
  /// host it is weighed in full.
  double paidNs(double processorNs) const;
  void built(const BuildOutcome &outcome);
  /// The built generation is live.
  void swapped(int64_t nowNs);
  /// Whether the live generation stays. Where it does not, the plans from before are taken to be
  /// live again.
  JudgementRecord judge(const Measured &measured);

  const PolicySetup &setup() const { return start; }
  /// The live plan of a layer of the setup.
  const LayerPlan &livePlan(uint32_t layer) const { return layers.at(layer).live; }
  /// Predicted nanoseconds of a step of a layer of the setup, on any plan.
  double predict(uint32_t layer, const LayerPlan &plan, const Histogram &step) const {
    return contextOf(layers.at(layer)).predict(plan, step);
  }

private:
  struct Layer {
    LayerSetup setup;
    LayerPlan live;
    Histogram plannedFor;
    History history;
    bool fresh = false; // observed since the last decision
    int64_t coolUntilNs = 0;
    int64_t lookNs = 0,
            lookWaitNs = 0; // when it is weighed next at the latest, and the wait before that
    BucketMix looked;       // what it was weighed for last
    Reason lastReason = Reason::PlanFits;
  };
  struct Choice {
    Verdict verdict = Verdict::Keep;
    LayerPlan plan;
    double mixNs = 0, gain = 0, regretNs = 0;
    Saving saving;
    ChangeCost cost;
  };
  struct BackOff {
    int64_t untilNs = 0;
    uint32_t failures = 0;
  };
  struct Weighing;

  bool due(const Layer &layer, int64_t nowNs) const;
  void lookAgain(Layer &layer, const Weighing &weighing, Reason reason, int64_t nowNs) const;
  Weighing weigh(const Layer &layer) const;
  double neededNs(const Choice &choice) const;
  LayerStatistics statisticsOf(const Layer &layer, const BucketMix &main) const;
  Choice makeChoice(const Layer &layer, LayerPlan plan, const Weighing &weighing) const;
  Verdict classify(const Layer &layer, const LayerPlan &plan) const;
  LayerContext contextOf(const Layer &layer) const;

  void decideLayer(Layer &layer, const Weighing &weighing, int64_t nowNs, bool requested, DecisionRecord &record);
  void settle(const Layer &layer, const Weighing &weighing, const Choice &top, DecisionRecord &record) const;
  bool permitted(const Layer &layer, const Choice &choice, int64_t nowNs, bool requested, DecisionRecord &record) const;
  bool limited(const Layer &layer, int64_t nowNs, DecisionRecord &record);
  void askUser(const Weighing &weighing, DecisionRecord &record, Choice &choice) const;
  void begin(Layer &layer, const Weighing &weighing, const Choice &choice, DecisionRecord &record);
  void describe(const Layer &layer, const Weighing &weighing, const Choice &choice, DecisionRecord &record) const;
  void backOff(int64_t nowNs);

  PolicySetup start;
  PolicyHooks hooks;
  std::map<uint32_t, Layer> layers;
  std::map<uint32_t, PlannedChange> changes;
  std::map<std::string, BackOff> backOffs; // by layer, verdict and config
  std::set<std::string> knownConfigs;
  CostModel costs;
  RateLimit rate;
  bool tookToken = false; // in this tick
  bool ticking = false;   // a change of this tick may still be joined by other layers
  uint64_t nextId = 1;
};

} // namespace moec
