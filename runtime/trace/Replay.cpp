#include "runtime/trace/Replay.h"

#include "runtime/recompile/Policy.h"
#include "runtime/trace/RecordedHooks.h"

#include <deque>
#include <memory>

namespace moec {

namespace {

class Replayer {
public:
  explicit Replayer(const TraceFile &trace) : trace(trace) {
    policy = std::make_unique<Policy>(trace.setup, recorded.hooks(trace));
  }

  ReplayReport run() {
    for (const TraceLine &line : trace.lines) {
      step(line);
      if (!report.matches)
        return report;
    }
    // A trace that ends between a tick and its answers was cut off there; what it has of them was
    // compared.
    return report;
  }

private:
  void step(const TraceLine &line) {
    bool isAnswer = std::holds_alternative<PredictionRecord>(line.event) ||
                    std::holds_alternative<DecisionRecord>(line.event) ||
                    std::holds_alternative<JudgementRecord>(line.event);
    if (isAnswer)
      return compare(line);
    if (!pending.empty())
      return mismatch(line, "", traceLine(line.n, pending.front()));
    if (const auto *counts = std::get_if<CountsEvent>(&line.event))
      policy->observe(counts->window);
    else if (const auto *hook = std::get_if<HookEvent>(&line.event))
      recorded.add(*hook);
    else if (const auto *tick = std::get_if<TickEvent>(&line.event))
      decide(*tick);
    else if (const auto *outcome = std::get_if<BuildOutcome>(&line.event))
      policy->built(*outcome);
    else if (const auto *swap = std::get_if<SwapEvent>(&line.event))
      policy->swapped(swap->nowNs);
    else if (const auto *measured = std::get_if<Measured>(&line.event))
      pending.push_back(policy->judge(*measured));
  }

  void decide(const TickEvent &event) {
    Policy::Tick tick = policy->decide(event.nowNs, event.requested);
    for (PredictionRecord &record : tick.predictions)
      pending.push_back(std::move(record));
    for (DecisionRecord &record : tick.decisions)
      pending.push_back(std::move(record));
  }

  void compare(const TraceLine &line) {
    if (pending.empty())
      return mismatch(line, line.text, "");
    std::string replayed = traceLine(line.n, pending.front());
    if (replayed != line.text)
      return mismatch(line, line.text, std::move(replayed));
    report.predictions += std::holds_alternative<PredictionRecord>(pending.front());
    report.decisions += std::holds_alternative<DecisionRecord>(pending.front());
    report.judgements += std::holds_alternative<JudgementRecord>(pending.front());
    pending.pop_front();
  }

  void mismatch(const TraceLine &line, std::string was, std::string is) {
    report.matches = false;
    report.where = fmt::format("{}:{}", line.file, line.number);
    report.recorded = std::move(was);
    report.replayed = std::move(is);
  }

  const TraceFile &trace;
  RecordedHooks recorded;
  std::unique_ptr<Policy> policy;
  std::deque<TraceEvent> pending; // answers of the policy that the trace has yet to show
  ReplayReport report;
};

} // namespace

Result<ReplayReport> replayTrace(const TraceFile &trace) {
  if (!trace.gaps.empty())
    return makeError(Code::InvalidArgument, "cannot be replayed: {}", trace.gaps.front());
  return Replayer(trace).run();
}

} // namespace moec
