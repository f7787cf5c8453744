#include "tools/moec-trace/Timeline.h"

#include <algorithm>

namespace moec {

const char *ChangeStory::outcome() const {
  if (build && build->code != Code::Ok)
    return "failed";
  if (rolledBack || (judgement && !judgement->kept))
    return "rolled back";
  if (judgement)
    return "kept";
  return build ? "being measured" : "not built";
}

const ChangeStory *Timeline::storyOf(const DecisionRecord &decision) const {
  for (const ChangeStory &change : changes)
    if (std::find(change.decisions.begin(), change.decisions.end(), &decision) != change.decisions.end())
      return &change;
  return nullptr;
}

namespace {

struct Collector {
  Timeline &timeline;
  int64_t nowNs = 0;
  bool joining = false; // decisions of one tick make one change

  void at(int64_t ns) {
    nowNs = ns;
    timeline.firstNs = timeline.firstNs ? std::min(timeline.firstNs, ns) : ns;
    timeline.lastNs = std::max(timeline.lastNs, ns);
  }
  ChangeStory *current() { return timeline.changes.empty() ? nullptr : &timeline.changes.back(); }

  void operator()(const CountsEvent &event) {
    at(event.nowNs);
    timeline.counts[event.window.layer].push_back(&event);
  }
  void operator()(const HookEvent &) {}
  void operator()(const TickEvent &event) {
    at(event.nowNs);
    joining = false;
  }
  void operator()(const PredictionRecord &record) {
    timeline.predictions[record.statistics.layer].push_back(&record);
    timeline.predictedAt[&record] = nowNs;
  }
  void operator()(const DecisionRecord &record) {
    timeline.decisions.push_back(&record);
    if (!isChange(record.verdict))
      return;
    if (!joining)
      timeline.changes.emplace_back();
    joining = true;
    timeline.changes.back().decisions.push_back(&record);
  }
  void operator()(const BuildOutcome &outcome) {
    at(outcome.nowNs);
    if (ChangeStory *change = current())
      change->build = &outcome;
  }
  void operator()(const SwapEvent &event) {
    at(event.nowNs);
    if (ChangeStory *change = current())
      change->swap = &event;
  }
  void operator()(const Measured &measured) {
    at(measured.nowNs);
    if (ChangeStory *change = current())
      change->measured = &measured;
  }
  void operator()(const JudgementRecord &record) {
    if (ChangeStory *change = current())
      change->judgement = &record;
  }
  void operator()(const RollbackEvent &event) {
    at(event.nowNs);
    if (ChangeStory *change = current())
      change->rolledBack = true;
  }
  void operator()(const ErrorEvent &event) {
    at(event.nowNs);
    timeline.errors.push_back(&event);
  }
  void operator()(const EndEvent &event) {
    at(event.nowNs);
    timeline.end = &event;
  }
};

} // namespace

Timeline timelineOf(const TraceFile &trace) {
  Timeline timeline;
  Collector collector{timeline};
  for (const TraceLine &line : trace.lines)
    std::visit(collector, line.event);
  // The first layer stands for all: each step passes every layer.
  if (!timeline.counts.empty())
    for (const CountsEvent *event : timeline.counts.begin()->second)
      timeline.steps += event->window.steps;
  return timeline;
}

} // namespace moec
