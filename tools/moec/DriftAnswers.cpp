#include "tools/moec/DriftAnswers.h"

#include "runtime/monitor/Window.h"
#include "runtime/recompile/Text.h"
#include "tools/moec/Alternatives.h"

#include <fmt/format.h>

#include <algorithm>

namespace moec::tool {

Histogram DriftAnswers::histogramOf(const RoutedStep &step) const {
  Histogram histogram{step.tokens, std::vector<uint32_t>(bench.shape.experts, 0)};
  for (int32_t id : step.ids)
    ++histogram.pairs[static_cast<size_t>(id)];
  return histogram;
}

Histogram DriftAnswers::typical() const {
  std::vector<uint64_t> sum(bench.shape.experts, 0);
  const uint32_t count = scenario.samples();
  for (uint32_t index = 0; index < count; ++index)
    for (int32_t id : scenario.sample(index).ids)
      ++sum[static_cast<size_t>(id)];
  return typicalStep(uint64_t{count} * scenario.tokensAfter(), sum, count);
}

void DriftAnswers::addPrebuilt(const LayerPlan &before) {
  GenerationHost &host = bench.session->host();
  const LayerShape shape = host.layerShape(layer);
  const PlanLimits limits = bench.session->limits(layer);
  Answer answer{"prebuilt", {}, {}, {}, {}};
  for (uint32_t tokens : {1u, 16u, 64u, 256u}) {
    const Histogram load = Histogram::uniform(tokens, shape.topK, shape.experts);
    LayerPlan plan = before;
    plan.config = planLayer(shape, load, host.facts(), host.calibration(), limits).config;
    bool known = std::any_of(answer.plans.begin(), answer.plans.end(),
                             [&](const LayerPlan &other) { return other.config == plan.config; });
    if (!known)
      answer.plans.push_back(std::move(plan));
  }
  list.push_back(std::move(answer));
}

void DriftAnswers::addExhaustive(size_t most) {
  GenerationHost &host = bench.session->host();
  const LayerShape shape = host.layerShape(layer);
  const PlanLimits limits = bench.session->limits(layer);
  const Histogram now = typical();
  auto addCandidate = [&](LayerPlan plan) {
    candidates.push_back(fmt::format("rows={}", textOfHeights(plan.config.cpu.tileRows)));
    add(candidates.back(), std::move(plan));
  };
  LayerPlan best = planLayer(shape, now, host.facts(), host.calibration(), limits);
  CpuConfig config = best.config.cpu;
  addCandidate(std::move(best));
  for (const Alternative &other : runnersUp(shape, now, config, host.facts(), host.calibration(), limits, most)) {
    config.tileRows = other.tileRows;
    addCandidate(planTable(shape, now, host.facts(), host.calibration(), limits, config));
  }
}

Status DriftAnswers::build(Answer &answer, const Histogram &plannedFor) {
  GenerationHost &host = bench.session->host();
  for (const LayerPlan &plan : answer.plans) {
    Result<BuildReport> built = host.build({{layer, plan}}, {{layer, plannedFor}}, [] { return false; });
    if (!built)
      return built.status().withContext("building '{}' to compare", answer.name);
    answer.generations.push_back(built->generation);
  }
  for (uint32_t sample = 0; sample < scenario.samples(); ++sample) {
    const Histogram step = histogramOf(scenario.sample(sample));
    auto predicted = [&](const LayerPlan &plan) {
      return predictLayer(bench.shape, plan, host.genericConfig(layer), step, host.facts(), host.calibration());
    };
    auto cheapest = std::min_element(answer.plans.begin(), answer.plans.end(), [&](const LayerPlan &a, const LayerPlan &b) {
      return predicted(a) < predicted(b);
    });
    answer.chosen.push_back(static_cast<size_t>(cheapest - answer.plans.begin()));
  }
  return {};
}

Status DriftAnswers::time(uint32_t repeats) {
  GenerationHost &host = bench.session->host();
  const Histogram now = typical();
  std::vector<Contestant> contestants;
  for (Answer &answer : list) {
    if (Status status = build(answer, now); !status.ok())
      return status;
    // Which variant a step takes is known before, and going there is not timed: the rival's choice costs nothing.
    auto step = [&](uint32_t index) -> Result<uint64_t> {
      const uint32_t sample = index % scenario.samples();
      if (Status status = host.publish(answer.generations[answer.chosen[sample]]); !status.ok())
        return status;
      return bench.run(scenario.sample(sample));
    };
    contestants.push_back({answer.name, {}, step});
  }
  Result<std::vector<std::vector<double>>> times =
      contest(contestants, {.repeats = repeats, .fewestSteps = 2, .period = scenario.samples()});
  if (!times)
    return times.status();
  for (size_t index = 0; index < list.size(); ++index)
    for (double ns : (*times)[index])
      list[index].tokensPerSecond.push_back(scenario.tokensAfter() / (ns * 1e-9));
  return {};
}

const Answer &DriftAnswers::of(const std::string &name) const {
  auto found = std::find_if(list.begin(), list.end(), [&](const Answer &answer) { return answer.name == name; });
  return found == list.end() ? list.front() : *found;
}

Interval DriftAnswers::ratio(const std::string &a, const std::string &b) const {
  return ratioOf(of(a).tokensPerSecond, of(b).tokensPerSecond);
}

Exhaustive DriftAnswers::exhaustive() const {
  Exhaustive result;
  GenerationHost &host = bench.session->host();
  result.ran = !candidates.empty();
  if (!result.ran)
    return result;
  result.sets = numHeightSets(host.facts(), host.calibration(), bench.session->limits(layer));
  result.measured = candidates.size();
  auto half = [&](const std::string &name, size_t parity) {
    std::vector<double> values;
    const std::vector<double> &all = of(name).tokensPerSecond;
    for (size_t repeat = 0; repeat < all.size(); ++repeat)
      if (repeat % 2 == parity || all.size() == 1)
        values.push_back(all[repeat]);
    return values;
  };
  result.best = *std::max_element(candidates.begin(), candidates.end(), [&](const std::string &a, const std::string &b) {
    return median(half(a, 1)) < median(half(b, 1));
  });
  result.swappedOverBest = ratioOf(half("swapped", 0), half(result.best, 0));
  return result;
}

} // namespace moec::tool
