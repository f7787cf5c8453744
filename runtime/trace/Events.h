// The events of a decision trace (docs/formats.md, "Decision trace"): one struct a line.
#pragma once

#include "runtime/recompile/Records.h"

#include <string>
#include <variant>

namespace moec {

inline constexpr const char *kDecisionTraceSchema = "moec.decision-trace";
inline constexpr const char *kRoutingTraceSchema = "moec.routing-trace";
inline constexpr uint64_t kTraceVersion = 2;

/// What a trace begins with, besides the policy's setup.
struct TraceInfo {
  std::string buildId;
  uint64_t run = 0;     // names one run; all segments of a rotated trace share it
  uint32_t segment = 0; // 0 for the first file of a run
};

// Inputs of the policy: a replay feeds these back.
struct CountsEvent {
  int64_t nowNs = 0;
  Window window;
};
struct HookEvent {
  uint32_t layer = 0;
  bool isTrigger = false; // else it is the user's policy
  bool fired = false;     // a trigger's answer
  Verdict verdict = Verdict::Keep;
};
struct TickEvent {
  int64_t nowNs = 0;
  bool requested = false;
};
struct SwapEvent {
  int64_t nowNs = 0;
  uint64_t generation = 0, from = 0;
};

// For people only.
struct RollbackEvent {
  int64_t nowNs = 0;
  uint64_t generation = 0, to = 0;
};
struct ErrorEvent {
  int64_t nowNs = 0;
  std::string where, message;
};
struct EndEvent {
  int64_t nowNs = 0;
  uint64_t samples = 0, skipped = 0, droppedLines = 0;
};

/// Predictions, decisions and judgements are what the policy answered: a replay makes them again
/// and compares.
using TraceEvent = std::variant<CountsEvent, HookEvent, TickEvent, PredictionRecord, DecisionRecord, BuildOutcome,
                                SwapEvent, Measured, JudgementRecord, RollbackEvent, ErrorEvent, EndEvent>;

/// The line of an event, without its newline. `n` numbers the lines of a run; a gap shows that
/// lines were lost. Doubles are printed so that reading them gives the same bits.
std::string traceLine(uint64_t n, const TraceEvent &event);
std::string traceHeader(const TraceInfo &info, const PolicySetup &setup);

} // namespace moec
