// What another policy would have done with the routing that a trace recorded, and what that would have been worth.
#pragma once

#include "runtime/trace/TraceReader.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moec {

/// A run of the loop over a trace's windows. Times are what the cost model predicts for the steps that the windows kept
/// (Window::specimens), with every plan alike, so that runs can be held against each other.
struct WhatIfRun {
  uint64_t steps = 0;                                  // forwards of layers
  uint64_t changes = 0, compiles = 0;                  // generations that went live; those for which kernels were built
  uint64_t kept = 0, rolledBack = 0, failedBuilds = 0; // what became of them
  double stepNs = 0;                                   // of all steps
  double buildNs = 0;                                  // of the threads that built, beside the steps
};

/// What did happen, as the cost model sees it. Errors: InvalidArgument (the trace has a gap).
Result<WhatIfRun> recordedRun(const TraceFile &trace);

/// What a loop with `setup` would have done: it is asked after each round of windows, builds what it decides on in the
/// time that the trace's last build of the kind took (what the policy assumes, where there was none), and measures what
/// the cost model predicts for the steps that follow. User code's hooks are not asked.
/// Errors: InvalidArgument (the trace has a gap).
Result<WhatIfRun> tryPolicy(const TraceFile &trace, PolicySetup setup);

/// The best plan of each window for itself, live at once and for nothing: what no policy can be ahead of, as far as the
/// planner's search goes. Errors: InvalidArgument (the trace has a gap).
Result<WhatIfRun> clairvoyantRun(const TraceFile &trace);

/// A setup with some of its numbers changed: `key` is one of the trace header's in "policy" or "limits" (of all layers,
/// whose live plans are then made anew within them), or "mode". Errors: InvalidArgument (an unknown key, a value of no
/// sense), naming it.
Result<PolicySetup> changedSetup(PolicySetup setup, const std::vector<std::pair<std::string, std::string>> &values);

} // namespace moec
