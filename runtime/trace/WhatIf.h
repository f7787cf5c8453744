// What another policy would have done with the routing that a trace recorded, and what that would have been worth.
#pragma once

#include "runtime/recompile/CostModel.h"
#include "runtime/trace/TraceReader.h"

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace moec {

/// A run of the loop over a trace's windows. Times are what the cost model predicts for the steps that the windows kept
/// (Window::specimens), whatever the plan, so that runs can be held against each other.
struct WhatIfRun {
  uint64_t changes = 0, compiles = 0;                  // generations that went live; those for which kernels were built
  uint64_t kept = 0, rolledBack = 0, failedBuilds = 0; // what became of builds
  double stepNs = 0;                                   // of all steps
  double buildNs = 0;                                  // of the threads that built, beside the steps
  double paidNs = 0;                                   // of the steps' time that building took, as the policy counts it
  std::vector<double> windowNs;                        // `stepNs`, window by window

  double totalNs() const { return stepNs + paidNs; }
};

/// Runs policies over one trace. Immutable once made; `trace` must outlive it.
class WhatIf {
public:
  /// Errors: InvalidArgument (the trace has a gap).
  static Result<WhatIf> of(const TraceFile &trace);

  /// What did happen.
  const WhatIfRun &recorded() const { return did; }
  /// Forwards of layers that the windows hold.
  uint64_t steps() const { return allSteps; }
  /// Times of windows that were timed: as measured, and as `recorded` has them.
  double measuredNs() const { return timedNs; }
  double predictedOfMeasuredNs() const { return predictedNs; }
  /// Answers of user code's hooks in the trace. A try does not ask them.
  uint64_t hookAnswers() const { return hooks; }

  /// What a loop with `setup` would have done: it is asked after each round of windows and at each request, builds what
  /// it decides on at the cost of the trace's last build of the kind (what the policy assumes, where there was none)
  /// and at the pace of its last one, and measures what the cost model predicts for the steps that follow. No build
  /// fails.
  WhatIfRun tried(const PolicySetup &setup) const;

  /// The best plan of each window for itself, live at once and for nothing: of the plans that `runs` had and those that
  /// the planner finds within the limits of `setups`. None of `runs` is ahead of it. A layer has one plan for steps of
  /// all sizes, so where sizes mix no policy reaches it.
  WhatIfRun best(std::span<const PolicySetup> setups, std::span<const WhatIfRun> runs) const;

private:
  explicit WhatIf(const TraceFile &trace);

  const TraceFile *trace;
  CostModel costs;           // of the last builds
  double slowness = 1;       // time that the last build took, over its threads' processor time
  std::vector<bool> isRound; // by line: behind it the loop decided, or would have
  WhatIfRun did;
  uint64_t allSteps = 0, hooks = 0;
  double timedNs = 0, predictedNs = 0;
};

/// What `changedSetup` knows: "mode", the numbers of a trace header's "policy", and those of its "limits".
std::vector<std::string> setupKeys();

/// A setup with some of its numbers changed. Limits are those of all layers, whose plans at the start are then made
/// anew within them; pack_budget_bytes also takes a share of all experts, "40%". Errors: InvalidArgument (an unknown
/// key, a value of no sense), naming it.
Result<PolicySetup> changedSetup(PolicySetup setup, const std::vector<std::pair<std::string, std::string>> &values);

} // namespace moec
