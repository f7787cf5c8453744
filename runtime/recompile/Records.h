// What the policy is told, what it answers and why: the records that the trace holds and replay
// compares.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Plan.h"
#include "runtime/monitor/Window.h"
#include "runtime/recompile/GenerationHost.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace moec {

/// When the loop may change a generation.
enum class LoopMode : uint8_t {
  Auto,   // whenever it pays
  Manual, // only when asked
  Off,    // never; nothing is evaluated
  Strict, // never compiles: new tables and generations that exist already only
};

enum class Verdict : uint8_t {
  Keep,    // the live plan is right, or not yet wrong enough
  Retable, // same kernels, same packed experts: new slots and order
  Reuse,   // kernels that exist already; experts may have to be packed
  Compile, // kernels have to be built
  Refuse,  // routing moved away from the plan, and yet no change will be made
};

enum class Reason : uint8_t {
  PlanFits,         // keep: no better plan is predicted, and routing is as planned for
  Accumulating,     // keep: the regret has not paid for the change yet
  Measuring,        // keep: another change is being built or measured
  HookKept,         // keep: the user's trigger or policy said so
  Pays,             // change: the regret exceeds the cost of changing
  Requested,        // change: somebody asked, and it gains more than the margin
  HookChanged,      // change: the user's policy said so
  NothingBetter,    // refuse: drifted, but no plan is better for the new routing
  GainBelowMargin,  // refuse: drifted, but the gain is within the noise of prediction
  NeverRepaid,      // refuse: the cost would not be repaid within the horizon
  RateLimited,      // refuse: changes per minute are used up
  CoolingDown,      // refuse: too soon after the last change of this layer
  BackedOff,        // refuse: this change failed, or measured worse, a short while ago
  CompileForbidden, // refuse: strict mode
  NotAsked,         // refuse: manual mode
  HookRefused,      // refuse: the user's policy said so
};

const char *modeName(LoopMode mode);      // "auto", "manual", "off", "strict"
const char *verdictName(Verdict verdict); // "keep", "retable", "reuse", "compile", "refuse"
const char *reasonName(Reason reason);    // "plan-fits", "never-repaid", ...
Result<LoopMode> parseMode(const std::string &name);
Result<Verdict> parseVerdict(const std::string &name);
/// Whether the verdict makes a new generation.
bool isChange(Verdict verdict);

/// Milliseconds that the parts of a change take their thread, as measured so far (or assumed before the first one).
struct ChangeCost {
  double compileMs = 0, packMs = 0, loadMs = 0, validateMs = 0;

  double ns() const { return (compileMs + packMs + loadMs + validateMs) * 1e6; }
  bool operator==(const ChangeCost &) const = default;
};

struct PolicyConfig {
  double minGain = 0.03;              // a smaller predicted gain (share of the live plan's time) is noise
  double driftFloor = 0.05;           // total variation that is no drift, on top of twice the sampling noise
  uint64_t repayHorizonSteps = 50000; // a change that needs more steps than this to pay is refused
  uint32_t noticeSteps = 64;          // steps that pass before a wrong plan is noticed: part of what a change risks
  double changesPerMinute = 8;        // refill of the token bucket, and its size
  int64_t coolDownNs = 500'000'000;   // between two changes of one layer
  int64_t backOffNs = 30'000'000'000; // after a change that failed or measured worse; doubles each time
  int64_t lookNs = 250'000'000;       // a layer is weighed again after this; doubles while the answer is settled ...
  int64_t mostLookNs = 8'000'000'000; // ... up to this. Routing that moves is weighed at once
  double costSmoothing = 0.4;         // weight of the newest measured cost
  double keepAbove = -0.02;           // a change is kept where the interval of its gain stays above this ...
  double keepMedian = 0.0;            // ... and its median gain is above this
  /// Assumed of a change where the host has measured nothing yet (GenerationHost::costs).
  ChangeCost firstCost = {.compileMs = 400, .packMs = 0, .loadMs = 2, .validateMs = 5};
  double firstPackNsPerByte = 0.5;

  bool operator==(const PolicyConfig &) const = default;
};

/// One layer as the loop finds it at its start.
struct LayerSetup {
  uint32_t layer = 0;
  LayerShape shape;
  LayerConfig generic; // generation 0's, which computes spills
  LayerPlan live;
  Histogram plannedFor; // what `live` was planned for
  PlanLimits limits;    // of every plan for it

  bool operator==(const LayerSetup &) const = default;
};

/// All that the policy starts from. The header of a decision trace.
struct PolicySetup {
  LoopMode mode = LoopMode::Auto;
  PolicyConfig config;
  TargetFacts facts;
  Calibration calibration;
  uint64_t liveGeneration = 0;
  std::vector<std::string> knownConfigs; // LayerConfig::text() of configs whose kernels exist already
  std::vector<LayerSetup> layers;
};

/// Why one plan is predicted to be faster than another: one part of the difference.
struct Cause {
  std::string name;  // "spills", "tile-heights", "packing", "order"
  std::string text;  // "tile heights {14,8,4} -> {14,11,4}"
  double gainNs = 0; // per step, of the bucket named in the record

  bool operator==(const Cause &) const = default;
};

/// A layer's routing now, against what its plan was made for.
struct LayerStatistics {
  uint32_t layer = 0;
  uint32_t bucket = 0;       // the bucket that most of the time goes to
  uint32_t steps = 0;        // that `typical` is the mean of
  Histogram typical;         // of that bucket
  double totalVariation = 0; // from what the live plan was planned for
  double noise = 0;          // total variation that sampling alone explains
  double imbalance = 0;
  bool drifted = false;
};

/// Predicted nanoseconds of one step, over the mix of buckets seen recently.
struct Prediction {
  double liveNs = 0;
  double tableNs = 0;  // best new table on the same kernels and packed experts
  double reuseNs = 0;  // best table and packed experts on the live kernels
  double bestNs = 0;   // best plan that can be built
  double regretNs = 0; // accumulated against the chosen candidate, since the last change
};

/// Emitted for every layer that is evaluated; the drift chart is drawn from these.
struct PredictionRecord {
  LayerStatistics statistics;
  Prediction prediction;
  double neededNs = 0; // regret at which the change considered pays: its cost and its risk
};

/// One decision about one layer.
struct DecisionRecord {
  uint64_t id = 0;
  int64_t nowNs = 0;
  LayerStatistics statistics;
  Prediction prediction;
  Verdict verdict = Verdict::Keep;
  Verdict considered = Verdict::Keep; // the change that was weighed, where none was made
  Reason reason = Reason::PlanFits;
  std::string text;  // the reason in words, with its numbers
  double gainNs = 0; // per step, of the change considered
  double gain = 0;   // as a share of the live plan's time
  ChangeCost cost;   // of the change considered
  double repaySteps = 0;
  std::string fromConfig, toConfig;
  std::vector<Cause> causes;
  std::optional<LayerPlan> plan; // of a change
};

/// What became of a build.
struct BuildOutcome {
  int64_t nowNs = 0;
  Code code = Code::Ok;
  std::string message; // of the error
  BuildReport report;  // of a success
};

/// Step times of a challenger over those of the incumbent, on the same traffic.
struct Measured {
  int64_t nowNs = 0;
  uint64_t generation = 0;
  uint32_t pairs = 0;       // of steps compared
  double ratio = 1;         // median of challenger / incumbent
  double low = 1, high = 1; // 95 % interval of the median
};

/// Whether a measured generation stays.
struct JudgementRecord {
  int64_t nowNs = 0;
  uint64_t generation = 0;
  bool kept = false;
  double predictedGain = 0; // share, over the changed layers
  double measuredGain = 0, measuredLow = 0, measuredHigh = 0;
  std::string text;
};

/// User code's part in decisions. Both must be pure functions of their argument; answers are
/// recorded, so that a replay needs no user code. Called from the loop's thread.
struct PolicyHooks {
  /// Whether a layer is looked at at all.
  std::function<bool(const LayerStatistics &)> trigger;
  /// The last word on a decision: Keep or Refuse to prevent it, a change to make it now if there is
  /// such a plan.
  std::function<Verdict(const DecisionRecord &proposed)> policy;
};

} // namespace moec
