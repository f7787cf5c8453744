#include "runtime/recompile/PolicyWeighing.h"

#include "runtime/recompile/Text.h"

#include <fmt/format.h>

#include <algorithm>

namespace moec {

std::string backOffKey(uint32_t layer, Verdict verdict, const LayerPlan &plan) {
  return fmt::format("{}|{}|{}", layer, verdictName(verdict), plan.config.text());
}

namespace {

/// Reasons between which a layer flickers, as its best plan's gain does around a bound, are one
/// piece of news.
Reason group(Reason reason) { return reason == Reason::GainBelowMargin ? Reason::NothingBetter : reason; }

void answer(DecisionRecord &record, Verdict verdict, Reason reason, std::string text) {
  record.verdict = verdict;
  record.reason = reason;
  record.text = std::move(text);
}

} // namespace

Policy::Policy(PolicySetup setup, PolicyHooks hooks)
    : start(std::move(setup)), hooks(std::move(hooks)), costs(start.config), rate(start.config.changesPerMinute) {
  knownConfigs.insert(start.knownConfigs.begin(), start.knownConfigs.end());
  for (const LayerSetup &layer : start.layers) {
    layers.emplace(layer.layer, Layer{.setup = layer,
                                      .live = layer.live,
                                      .plannedFor = layer.plannedFor,
                                      .history = History(start.config.driftFloor),
                                      .looked = {}});
    knownConfigs.insert(layer.live.config.text());
    knownConfigs.insert(layer.generic.text());
  }
}

LayerContext Policy::contextOf(const Layer &layer) const { return {layer.setup, start.facts, start.calibration}; }

void Policy::observe(const Window &window) {
  auto found = layers.find(window.layer);
  if (found == layers.end() || window.steps == 0 || window.pairs.size() != found->second.setup.shape.experts ||
      window.specimens.empty() || window.peak.size() != window.pairs.size())
    return;
  Layer &layer = found->second;
  std::vector<double> liveNs;
  for (const Histogram &step : window.specimens)
    liveNs.push_back(contextOf(layer).predict(layer.live, step));
  layer.history.add(window, liveNs);
  layer.fresh = true;
}

//===-- Deciding ------------------------------------------------------------------------------===//

Policy::Tick Policy::decide(int64_t nowNs, bool requested) {
  Tick tick;
  if (start.mode == LoopMode::Off)
    return tick;
  ticking = changes.empty();
  tookToken = false;
  for (auto &[number, layer] : layers) {
    if (layer.history.empty() || (!requested && (!layer.fresh || !due(layer, nowNs))))
      continue;
    layer.fresh = false;
    Weighing weighing = weigh(layer);
    DecisionRecord record;
    record.nowNs = nowNs;
    record.statistics = weighing.statistics;
    const std::vector<Choice> &choices = weighing.choices;
    record.prediction = {weighing.liveNs, choices[0].mixNs, choices[1].mixNs, choices[2].mixNs,
                         choices[weighing.top].regretNs};
    tick.predictions.push_back({record.statistics, record.prediction, neededNs(choices[weighing.top])});
    decideLayer(layer, weighing, nowNs, requested, record);
    bool news = group(record.reason) != group(layer.lastReason);
    layer.lastReason = record.reason;
    lookAgain(layer, weighing, record.reason, nowNs);
    if (!news && !isChange(record.verdict) && !requested)
      continue;
    record.id = nextId++;
    tick.decisions.push_back(std::move(record));
  }
  ticking = false;
  return tick;
}

void Policy::decideLayer(Layer &layer, const Weighing &weighing, int64_t nowNs, bool requested,
                         DecisionRecord &record) {
  const Choice *chosen = &weighing.choices[weighing.top];
  describe(layer, weighing, *chosen, record);
  if (hooks.trigger && !hooks.trigger(weighing.statistics))
    return answer(record, Verdict::Keep, Reason::HookKept, "the user's trigger has not fired");
  if (!ticking)
    return answer(record, Verdict::Keep, Reason::Measuring, "another change is being built or measured");
  if (chosen->gain < start.config.minGain) {
    settle(layer, weighing, *chosen, record);
  } else {
    // The best change that has paid for itself. A cheap one goes first where the dear one has not
    // yet.
    bool pays = permitted(layer, *chosen, nowNs, requested, record);
    for (size_t i = weighing.top; !pays && i-- > 0;) {
      DecisionRecord attempt = record;
      if (!permitted(layer, weighing.choices[i], nowNs, requested, attempt))
        continue;
      pays = true;
      chosen = &weighing.choices[i];
      describe(layer, weighing, *chosen, attempt);
      record = std::move(attempt);
    }
    if (pays && !requested && limited(layer, nowNs, record))
      pays = false;
  }
  Choice choice = *chosen;
  if (hooks.policy)
    askUser(weighing, record, choice);
  if (isChange(record.verdict))
    begin(layer, weighing, choice, record);
}

void Policy::describe(const Layer &layer, const Weighing &weighing, const Choice &choice,
                      DecisionRecord &record) const {
  record.considered = choice.verdict;
  record.gainNs = weighing.liveNs - choice.mixNs;
  record.gain = choice.gain;
  record.cost = choice.cost;
  record.prediction.regretNs = choice.regretNs;
  record.repaySteps = record.gainNs > 0 ? paidNs(choice.cost.ns()) / record.gainNs : 0;
  record.fromConfig = layer.live.config.text();
  record.toConfig = choice.plan.config.text();
  record.causes.clear();
  if (choice.gain >= start.config.minGain)
    record.causes = explainGain(contextOf(layer), layer.live, choice.plan, weighing.main());
}

void Policy::settle(const Layer &layer, const Weighing &weighing, const Choice &top, DecisionRecord &record) const {
  std::string fit = explainFit(contextOf(layer), layer.live, weighing.main());
  double best = top.gain;
  for (const Choice &choice : weighing.choices)
    best = std::max(best, choice.gain);
  if (!weighing.statistics.drifted)
    return answer(record, Verdict::Keep, Reason::PlanFits,
                  fmt::format("routing is as planned for (total variation {:.3f}, noise {:.3f})",
                              weighing.statistics.totalVariation, weighing.statistics.noise));
  // A stretch this short may be half of the old routing still.
  constexpr size_t fewestSpecimens = 8;
  if (weighing.main().specimens.size() < fewestSpecimens)
    return answer(record, Verdict::Keep, Reason::Accumulating,
                  fmt::format("routing has just moved (total variation {:.3f}); too early to tell",
                              weighing.statistics.totalVariation));
  // A third of the margin, one per cent by default, is less than machines repeat.
  if (best * 3 < start.config.minGain)
    return answer(record, Verdict::Refuse, Reason::NothingBetter,
                  fmt::format("routing moved (total variation {:.3f}, bucket {}) but no plan is better: {}",
                              weighing.statistics.totalVariation, weighing.statistics.bucket, fit));
  answer(record, Verdict::Refuse, Reason::GainBelowMargin,
         fmt::format("routing moved (total variation {:.3f}, bucket {}) but the best plan is only "
                     "{} faster, below the "
                     "margin of {}: {}",
                     weighing.statistics.totalVariation, weighing.statistics.bucket, textOfShare(best),
                     textOfShare(start.config.minGain), fit));
}

bool Policy::permitted(const Layer &layer, const Choice &choice, int64_t nowNs, bool requested,
                       DecisionRecord &record) const {
  auto refuse = [&](Reason reason, std::string text) {
    answer(record, Verdict::Refuse, reason, std::move(text));
    return false;
  };
  if (choice.gain < start.config.minGain)
    return refuse(Reason::GainBelowMargin, fmt::format("a gain of {} is below the margin of {}",
                                                       textOfShare(choice.gain), textOfShare(start.config.minGain)));
  if (auto found = backOffs.find(backOffKey(layer.setup.layer, choice.verdict, choice.plan));
      found != backOffs.end() && nowNs < found->second.untilNs)
    return refuse(Reason::BackedOff,
                  fmt::format("this change failed or measured worse {} times; not tried again for {}",
                              found->second.failures, textOfNs(static_cast<double>(found->second.untilNs - nowNs))));
  if (start.mode == LoopMode::Strict && choice.verdict == Verdict::Compile)
    return refuse(Reason::CompileForbidden, fmt::format("{} would gain {}, but this session never compiles",
                                                        choice.plan.config.text(), textOfShare(choice.gain)));
  if (requested) {
    answer(record, choice.verdict, Reason::Requested, fmt::format("asked for; gains {}", textOfShare(choice.gain)));
    return true;
  }
  if (start.mode == LoopMode::Manual)
    return refuse(Reason::NotAsked, fmt::format("a change would gain {}, but in manual mode it waits to be told",
                                                textOfShare(choice.gain)));
  // With fewer specimens their spread says nothing.
  constexpr size_t fewestSpecimens = 4;
  if (choice.saving.specimens < fewestSpecimens || choice.saving.ns < 2 * choice.saving.errorNs) {
    answer(record, Verdict::Keep, Reason::Accumulating,
           fmt::format("a gain of {} +- {} a step, from {} steps looked at, is not certain yet",
                       textOfNs(choice.saving.ns), textOfNs(2 * choice.saving.errorNs), choice.saving.specimens));
    return false;
  }
  double gainNs = choice.saving.ns;
  const double paid = paidNs(choice.cost.ns()), steps = paid / gainNs;
  if (steps > static_cast<double>(start.config.repayHorizonSteps))
    return refuse(Reason::NeverRepaid,
                  fmt::format("{} a step would repay the cost of {} in {:.0f} steps only, beyond the horizon of {}",
                              textOfNs(gainNs), textOfNs(paid), steps, start.config.repayHorizonSteps));
  double riskNs = neededNs(choice) - paid;
  std::string balance =
      fmt::format("regret of {} since the last change; changing takes {} of steps' time and risks {} ({} steps "
                  "until a wrong plan is noticed)",
                  textOfNs(choice.regretNs), textOfNs(paid), textOfNs(riskNs), start.config.noticeSteps);
  bool pays = choice.regretNs >= paid + riskNs;
  answer(record, pays ? choice.verdict : Verdict::Keep, pays ? Reason::Pays : Reason::Accumulating, std::move(balance));
  return pays;
}

bool Policy::limited(const Layer &layer, int64_t nowNs, DecisionRecord &record) {
  if (nowNs < layer.coolUntilNs) {
    answer(record, Verdict::Refuse, Reason::CoolingDown,
           fmt::format("it would pay ({}), but the last change is too recent: {} to wait", record.text,
                       textOfNs(static_cast<double>(layer.coolUntilNs - nowNs))));
    return true;
  }
  if (tookToken || rate.available(nowNs))
    return false;
  answer(record, Verdict::Refuse, Reason::RateLimited,
         fmt::format("it would pay ({}), but the {} changes of this minute are used up: {:.0f} s to wait", record.text,
                     start.config.changesPerMinute, rate.waitSeconds()));
  return true;
}

void Policy::askUser(const Weighing &weighing, DecisionRecord &record, Choice &choice) const {
  Verdict wanted = hooks.policy(record);
  if (wanted == record.verdict)
    return;
  if (wanted == Verdict::Keep || wanted == Verdict::Refuse)
    return answer(record, wanted, wanted == Verdict::Keep ? Reason::HookKept : Reason::HookRefused,
                  fmt::format("the user's policy said {}; ours: {}", verdictName(wanted), record.text));
  for (const Choice &other : weighing.choices) {
    bool forbidden = start.mode == LoopMode::Strict && other.verdict == Verdict::Compile;
    if (other.verdict != wanted || forbidden)
      continue;
    choice = other;
    return answer(record, wanted, Reason::HookChanged,
                  fmt::format("the user's policy said {}; ours: {}", verdictName(wanted), record.text));
  }
}

void Policy::begin(Layer &layer, const Weighing &weighing, const Choice &choice, DecisionRecord &record) {
  if (!tookToken)
    rate.take();
  tookToken = true;
  describe(layer, weighing, choice, record);
  record.plan = choice.plan;
  PlannedChange &change = changes[layer.setup.layer];
  change = {.verdict = choice.verdict,
            .plan = choice.plan,
            .plannedFor = weighing.main().typical,
            .before = layer.live,
            .beforeFor = layer.plannedFor,
            .gainNs = record.gainNs,
            .liveNs = weighing.liveNs};
}

} // namespace moec
