// User code's part in recorded decisions, for whoever decides them again.
#pragma once

#include "runtime/trace/TraceReader.h"

#include <deque>

namespace moec {

/// The answers that user code gave, in order, in place of that code. Must outlive the policy that has its hooks.
class RecordedHooks {
public:
  /// Hooks of the kinds that the trace has answers of.
  PolicyHooks hooks(const TraceFile &trace) {
    bool usesTrigger = false, usesPolicy = false;
    for (const TraceLine &line : trace.lines)
      if (const auto *hook = std::get_if<HookEvent>(&line.event))
        (hook->isTrigger ? usesTrigger : usesPolicy) = true;
    PolicyHooks made;
    if (usesTrigger)
      made.trigger = [this](const LayerStatistics &) { return next(triggers, true); };
    if (usesPolicy)
      made.policy = [this](const DecisionRecord &record) { return next(policies, record.verdict); };
    return made;
  }

  void add(const HookEvent &hook) {
    if (hook.isTrigger)
      triggers.push_back(hook.fired);
    else
      policies.push_back(hook.verdict);
  }

private:
  template <typename T> static T next(std::deque<T> &answers, T otherwise) {
    if (answers.empty())
      return otherwise;
    T answer = answers.front();
    answers.pop_front();
    return answer;
  }

  std::deque<bool> triggers;
  std::deque<Verdict> policies;
};

} // namespace moec
