// What a layer could change to, what that would save and cost, and when to look again.
#include "runtime/recompile/PolicyWeighing.h"

#include <algorithm>

namespace moec {

LayerStatistics Policy::statisticsOf(const Layer &layer, const BucketMix &main) const {
  LayerStatistics seen;
  seen.layer = layer.setup.layer;
  seen.bucket = main.bucket;
  seen.steps = main.steps;
  seen.typical = main.typical;
  seen.totalVariation = totalVariation(layer.plannedFor.pairs, main.typical.pairs);
  // What was planned for counts as exact; rounding it to whole pairs is within the floor.
  uint64_t pairs = main.typical.total() * main.steps;
  seen.noise = samplingNoise(pairs, pairs, main.typical.pairs.size());
  seen.imbalance = imbalance(main.typical.pairs);
  seen.drifted = seen.totalVariation > start.config.driftFloor + 2 * seen.noise ||
                 sizeBucket(layer.plannedFor.tokens) != main.bucket;
  return seen;
}

Verdict Policy::classify(const Layer &layer, const LayerPlan &plan) const {
  if (plan.config == layer.live.config)
    return plan.table.packed == layer.live.table.packed ? Verdict::Retable : Verdict::Reuse;
  return knownConfigs.count(plan.config.text()) ? Verdict::Reuse : Verdict::Compile;
}

Policy::Choice Policy::makeChoice(const Layer &layer, LayerPlan plan, const Weighing &weighing) const {
  LayerContext context = contextOf(layer);
  Choice choice;
  choice.verdict = classify(layer, plan);
  choice.saving = predictSaving(context, layer.live, plan, weighing.mix);
  choice.mixNs = weighing.liveNs - choice.saving.ns;
  choice.gain = weighing.liveNs > 0 ? choice.saving.ns / weighing.liveNs : 0;
  uint64_t bytes = newlyPacked(layer.live.table, plan.table).size() * packedExpertBytes(layer.setup.shape, start.facts);
  choice.cost = costs.of(choice.verdict, bytes);
  if (choice.gain >= start.config.minGain)
    choice.regretNs =
        layer.history.regretNs([&](const Histogram &histogram) { return context.predict(plan, histogram); });
  choice.plan = std::move(plan);
  return choice;
}

// A build beside steps on CPUs takes one of their threads' processors for as long as it works, so steps lose that part
// of their speed. Steps on a GPU share little with it; what they do share (validation) is charged in full.
double Policy::paidNs(double processorNs) const {
  const bool onCpu = start.facts.device == DeviceKind::Cpu;
  return processorNs / (onCpu ? std::max(1u, start.facts.threads) : 1u);
}

// Should routing turn back, the new plan is the wrong one until that is noticed: a change risks
// that as well, or routing that swings as fast as the loop reacts would always be met by the plan
// for its other half.
double Policy::neededNs(const Choice &choice) const {
  return paidNs(choice.cost.ns()) + start.config.noticeSteps * std::max(0.0, choice.saving.ns);
}

Policy::Weighing Policy::weigh(const Layer &layer) const {
  Weighing weighing;
  LayerContext context = contextOf(layer);
  weighing.mix = layer.history.recent();
  const BucketMix &main = heaviest(context, layer.live, weighing.mix);
  weighing.statistics = statisticsOf(layer, main);
  weighing.liveNs = predictMix(context, layer.live, weighing.mix);
  Candidates candidates = findCandidates(context, layer.live, weighing.mix);
  for (LayerPlan *plan : {&candidates.table, &candidates.reuse, &candidates.best})
    weighing.choices.push_back(makeChoice(layer, std::move(*plan), weighing));
  // The dearer plan has to be better than the cheaper one by more than the noise of prediction.
  for (size_t i = 1; i < weighing.choices.size(); ++i)
    if (weighing.choices[i].gain >= weighing.choices[weighing.top].gain + start.config.minGain)
      weighing.top = i;
  return weighing;
}

bool Policy::due(const Layer &layer, int64_t nowNs) const {
  if (nowNs >= layer.lookNs)
    return true;
  for (const BucketMix &part : layer.history.recent()) {
    if (part.bucket != layer.looked.bucket)
      continue;
    double noise = samplingNoise(part.typical.total() * part.steps, layer.looked.typical.total() * layer.looked.steps,
                                 part.typical.pairs.size());
    return totalVariation(part.typical.pairs, layer.looked.typical.pairs) > start.config.driftFloor + 2 * noise;
  }
  return true; // the bucket has gone
}

void Policy::lookAgain(Layer &layer, const Weighing &weighing, Reason reason, int64_t nowNs) const {
  bool settled = reason != Reason::Accumulating && reason != Reason::CoolingDown && reason != Reason::RateLimited &&
                 reason != Reason::Measuring;
  layer.lookWaitNs = settled ? std::min(std::max(layer.lookWaitNs * 2, start.config.lookNs), start.config.mostLookNs)
                             : start.config.lookNs;
  layer.lookNs = nowNs + layer.lookWaitNs;
  layer.looked = weighing.main();
}

} // namespace moec
