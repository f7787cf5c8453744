// Whether a simulation's trace gives its decisions again.
#pragma once

#include "tests/unit/Catch.h"
#include "tests/unit/recompile/Simulation.h"

namespace moec::test {

/// Checks that the trace has no problem and every decision and prediction in it, and answers whether all come out
/// again, byte for byte.
inline bool replays(const Simulation &simulation) {
  Result<TraceFile> trace = parseTrace({{"trace", simulation.traceText()}});
  REQUIRE(trace);
  CHECK(trace->problems.empty());
  Result<ReplayReport> report = replayTrace(*trace);
  REQUIRE(report);
  INFO(report->where << "\nrecorded " << report->recorded << "\nreplayed " << report->replayed);
  CHECK(report->decisions == simulation.all<DecisionRecord>().size());
  CHECK(report->predictions == simulation.all<PredictionRecord>().size());
  CHECK(report->matches);
  return report->matches;
}

} // namespace moec::test
