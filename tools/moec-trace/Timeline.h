// A trace's events put together: which change came from which decisions and what became of it.
#pragma once

#include "runtime/trace/TraceReader.h"

#include <map>
#include <vector>

namespace moec {

/// One change from its decisions to its end. Pointers are into the trace.
struct ChangeStory {
  std::vector<const DecisionRecord *> decisions; // one per layer
  const BuildOutcome *build = nullptr;
  const SwapEvent *swap = nullptr;
  const Measured *measured = nullptr;
  const JudgementRecord *judgement = nullptr;
  bool rolledBack = false;

  /// "failed", "kept", "rolled back", "being measured" or "not built" (where the trace ends early).
  const char *outcome() const;
};

struct Timeline {
  std::vector<const DecisionRecord *> decisions;
  std::vector<ChangeStory> changes;
  std::vector<const ErrorEvent *> errors;
  std::map<uint32_t, std::vector<const CountsEvent *>> counts;           // by layer
  std::map<uint32_t, std::vector<const PredictionRecord *>> predictions; // by layer
  std::map<const PredictionRecord *, int64_t> predictedAt;               // time of its tick
  int64_t firstNs = 0, lastNs = 0;
  uint64_t steps = 0;
  const EndEvent *end = nullptr;

  const ChangeStory *storyOf(const DecisionRecord &decision) const;
};

/// `trace` must outlive the answer.
Timeline timelineOf(const TraceFile &trace);

} // namespace moec
