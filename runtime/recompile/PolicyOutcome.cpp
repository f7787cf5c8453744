// What the policy learns from what became of its changes.
#include "runtime/recompile/PolicyWeighing.h"

#include "runtime/recompile/Text.h"

#include <fmt/format.h>

#include <algorithm>

namespace moec {

void Policy::backOff(int64_t nowNs) {
  constexpr uint32_t mostDoublings = 6;
  for (const auto &[number, change] : changes) {
    BackOff &entry = backOffs[backOffKey(number, change.verdict, change.plan)];
    entry.untilNs = nowNs + (start.config.backOffNs << std::min(entry.failures, mostDoublings));
    ++entry.failures;
  }
}

BuildSize Policy::sizeInFlight() const {
  BuildSize size;
  size.layers = static_cast<uint32_t>(changes.size());
  for (const auto &[number, change] : changes) {
    size.compiled += change.verdict == Verdict::Compile;
    size.newlyPackedBytes += newlyPacked(change.before.table, change.plan.table).size() *
                             packedExpertBytes(layers.at(number).setup.shape, start.facts);
  }
  return size;
}

void Policy::built(const BuildOutcome &outcome) {
  if (outcome.code != Code::Ok) {
    backOff(outcome.nowNs);
    changes.clear();
    return;
  }
  costs.learn(outcome.report, sizeInFlight());
  for (const auto &[number, change] : changes)
    knownConfigs.insert(change.plan.config.text());
}

void Policy::swapped(int64_t nowNs) {
  for (const auto &[number, change] : changes) {
    Layer &layer = layers.at(number);
    layer.live = change.plan;
    layer.plannedFor = change.plannedFor;
    layer.coolUntilNs = nowNs + start.config.coolDownNs;
    layer.history.changed();
    layer.lookNs = layer.lookWaitNs = 0;
  }
}

JudgementRecord Policy::judge(const Measured &measured) {
  // An interval needs this many pairs of steps; with fewer there is nothing to hold against the
  // prediction.
  constexpr uint32_t fewestPairs = 8;
  JudgementRecord record;
  record.nowNs = measured.nowNs;
  record.generation = measured.generation;
  double gainNs = 0, liveNs = 0;
  for (const auto &[number, change] : changes) {
    gainNs += change.gainNs;
    liveNs += change.liveNs;
  }
  record.predictedGain = liveNs > 0 ? gainNs / liveNs : 0;
  record.measuredGain = 1 - measured.ratio;
  record.measuredLow = 1 - measured.high;
  record.measuredHigh = 1 - measured.low;
  bool enough = measured.pairs >= fewestPairs;
  record.kept =
      !enough || (record.measuredGain > start.config.keepMedian && record.measuredLow > start.config.keepAbove);
  record.text = enough
                    ? fmt::format("measured {} faster ({} to {}, {} pairs of steps), predicted {}",
                                  textOfShare(record.measuredGain), textOfShare(record.measuredLow),
                                  textOfShare(record.measuredHigh), measured.pairs, textOfShare(record.predictedGain))
                    : fmt::format("kept on its prediction of {}: only {} pairs of steps could be compared",
                                  textOfShare(record.predictedGain), measured.pairs);
  if (!record.kept) {
    backOff(measured.nowNs);
    for (const auto &[number, change] : changes) {
      Layer &layer = layers.at(number);
      layer.live = change.before;
      layer.plannedFor = change.beforeFor;
      layer.history.changed();
      layer.lookNs = layer.lookWaitNs = 0;
    }
  }
  changes.clear();
  return record;
}

} // namespace moec
