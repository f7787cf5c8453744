// What each answer to a drift is worth: generations built for it and timed in turns on the drifted traffic.
#pragma once

#include "tools/moec/BenchSession.h"
#include "tools/moec/Contest.h"
#include "tools/moec/Scenario.h"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace moec::tool {

/// By layer: the plans of all open layers.
using LayerPlans = std::map<uint32_t, LayerPlan>;

struct Answer {
  std::string name;
  /// More than one: prebuilt variants, of which each step runs on the one that predicts least for its routing.
  std::vector<LayerPlans> plans;
  std::vector<uint64_t> generations;   // of `plans`
  std::vector<size_t> chosen;          // by sample of the scenario: which plan
  std::vector<double> tokensPerSecond; // by repeat
};

/// What the planner's own choices for the drifted load came to when they were measured.
struct Exhaustive {
  bool ran = false;
  size_t sets = 0;     // of tile heights, or pairs of tile classes, that planLayer chooses from
  size_t measured = 0; // the cheapest of them by prediction
  std::string best;    // of those measured, by the repeats that the ratio leaves out
  Interval swappedOverBest;
};

class DriftAnswers {
public:
  /// Both must outlive this. The session's layers have one shape, and steps route alike in all of them.
  DriftAnswers(BenchSession &bench, const Scenario &scenario)
      : bench(bench), scenario(scenario), first(bench.session->layers().front()) {}

  /// The drifted traffic's typical step.
  Histogram typical() const;

  void add(std::string name, LayerPlans plans) { list.push_back({std::move(name), {std::move(plans)}, {}, {}, {}}); }
  /// The same plan, made for the first layer by `plan`, in every layer: its limits are that layer's.
  void addEverywhere(std::string name, const std::function<LayerPlan(uint32_t layer)> &plan);
  /// Prebuilt sets of tile heights, one planned for each of a few loads, all with the packed experts of `before`: sets
  /// of packed experts of their own would take as many times the pack budget.
  void addPrebuilt(const LayerPlans &before);
  /// The planner's best for the drifted load and its `most` runners-up, each with the table planned for it.
  void addExhaustive(size_t most);

  /// Builds what was added and times it, in fewer repeats (3 at least) where `seconds` are over before.
  /// `progress` is told what is being done, between steps. Errors: those of building and of steps.
  Status time(uint32_t repeats, double seconds, const std::function<void(const std::string &)> &progress);

  const std::vector<Answer> &all() const { return list; }
  /// The answer of that name, which was added.
  const Answer &of(const std::string &name) const;
  /// Tokens per second of `a` over those of `b`, repeat by repeat.
  Interval ratio(const std::string &a, const std::string &b) const;
  /// The best of addExhaustive's is picked by every second repeat and held against 'swapped' in the others: the best of
  /// many, held against something in the repeats that made it the best, would win by luck.
  Exhaustive exhaustive() const;

private:
  void addExhaustiveTiles(const Histogram &now, size_t most);
  Status build(Answer &answer, const Histogram &plannedFor);
  Histogram histogramOf(const RoutedStep &step) const;

  BenchSession &bench;
  const Scenario &scenario;
  const uint32_t first; // layer, by which an answer of many plans chooses
  std::vector<Answer> list;
  std::vector<std::string> candidates; // of addExhaustive
  size_t sets = 0;                     // that it chose from
};

} // namespace moec::tool
