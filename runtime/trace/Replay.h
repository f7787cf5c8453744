// Decides again what a trace recorded, and compares line by line.
#pragma once

#include "runtime/trace/TraceReader.h"

#include <cstdint>
#include <string>

namespace moec {

struct ReplayReport {
  uint64_t predictions = 0, decisions = 0,
           judgements = 0; // compared, all equal unless there is a mismatch
  bool matches = true;
  // The first difference, where there is one.
  std::string where;    // "file:line"
  std::string recorded; // "" where the replay says something that the trace lacks
  std::string replayed; // "" where the trace says something that the replay does not
};

/// Feeds the recorded inputs to a fresh policy. Decisions, predictions and judgements must come out
/// byte for byte. Errors: InvalidArgument where the trace has a gap, so that there is nothing to
/// hold the policy against.
Result<ReplayReport> replayTrace(const TraceFile &trace);

} // namespace moec
