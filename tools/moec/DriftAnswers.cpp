#include "tools/moec/DriftAnswers.h"

#include "compiler/core/PlanCuda.h"
#include "runtime/monitor/Window.h"
#include "runtime/recompile/Text.h"
#include "tools/moec/Alternatives.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

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

void DriftAnswers::addEverywhere(std::string name, const std::function<LayerPlan(uint32_t layer)> &plan) {
  LayerPlans plans;
  for (uint32_t layer : bench.session->layers())
    plans[layer] = plan(layer);
  add(std::move(name), std::move(plans));
}

void DriftAnswers::addPrebuilt(const LayerPlans &before) {
  GenerationHost &host = bench.session->host();
  const LayerShape shape = host.layerShape(first);
  Answer answer{"prebuilt", {}, {}, {}, {}};
  const bool gpu = bench.facts.device == DeviceKind::Cuda;
  for (uint32_t tokens :
       gpu ? std::vector<uint32_t>{1, 4, 16, 64, 256, 1024, 4096, 16384} : std::vector<uint32_t>{1, 16, 64, 256}) {
    const Histogram load = Histogram::uniform(tokens, shape.topK, shape.experts);
    const LayerConfig config = planLayer(shape, load, host.facts(), host.calibration(), host.limits(first)).config;
    bool known = std::any_of(answer.plans.begin(), answer.plans.end(),
                             [&](const LayerPlans &other) { return other.at(first).config == config; });
    if (known)
      continue;
    LayerPlans plans = before;
    for (auto &[layer, plan] : plans)
      plan.config = config;
    answer.plans.push_back(std::move(plans));
  }
  list.push_back(std::move(answer));
}

void DriftAnswers::addExhaustive(size_t most) {
  GenerationHost &host = bench.session->host();
  const LayerShape shape = host.layerShape(first);
  const PlanLimits limits = host.limits(first);
  const Histogram now = typical();
  auto addCandidate = [&](const CpuConfig &config) {
    candidates.push_back(fmt::format("rows={}", textOfHeights(config.tileRows)));
    addEverywhere(candidates.back(), [&](uint32_t layer) {
      return planTable(shape, now, host.facts(), host.calibration(), host.limits(layer), config);
    });
  };
  if (bench.facts.device == DeviceKind::Cuda)
    return addExhaustiveTiles(now, most);
  sets = numHeightSets(host.facts(), host.calibration(), limits);
  CpuConfig config = planLayer(shape, now, host.facts(), host.calibration(), limits).config.cpu;
  addCandidate(config);
  for (const Alternative &other : runnersUp(shape, now, config, host.facts(), host.calibration(), limits, most)) {
    config.tileRows = other.tileRows;
    addCandidate(config);
  }
}

void DriftAnswers::addExhaustiveTiles(const Histogram &now, size_t most) {
  GenerationHost &host = bench.session->host();
  std::vector<CudaCandidate> all = cudaCandidates(bench.shape, now, host.facts(), host.calibration());
  sets = all.size();
  all.resize(std::min(all.size(), most + 1));
  for (const CudaCandidate &candidate : all) {
    candidates.push_back(fmt::format("tiles={} {}", candidate.config.gateUp.text(), candidate.config.down.text()));
    addEverywhere(candidates.back(), [&](uint32_t layer) {
      return planTable(bench.shape, now, host.facts(), host.calibration(), host.limits(layer), candidate.config);
    });
  }
}

Status DriftAnswers::build(Answer &answer, const Histogram &plannedFor) {
  GenerationHost &host = bench.session->host();
  std::map<uint32_t, Histogram> plannedForAll;
  for (uint32_t layer : bench.session->layers())
    plannedForAll[layer] = plannedFor;
  for (const LayerPlans &plans : answer.plans) {
    Result<BuildReport> built = host.build(plans, plannedForAll, [] { return false; });
    if (!built)
      return built.status().withContext("building '{}' to compare", answer.name);
    answer.generations.push_back(built->generation);
  }
  for (uint32_t sample = 0; sample < scenario.samples(); ++sample) {
    const Histogram step = histogramOf(scenario.sample(sample));
    auto predicted = [&](const LayerPlans &plans) {
      return predictLayer(bench.shape, plans.at(first), host.genericConfig(first), step, host.facts(),
                          host.calibration());
    };
    auto cheapest =
        std::min_element(answer.plans.begin(), answer.plans.end(),
                         [&](const LayerPlans &a, const LayerPlans &b) { return predicted(a) < predicted(b); });
    answer.chosen.push_back(static_cast<size_t>(cheapest - answer.plans.begin()));
  }
  return {};
}

Status DriftAnswers::time(uint32_t repeats, double seconds, const std::function<void(const std::string &)> &progress) {
  const auto start = std::chrono::steady_clock::now();
  GenerationHost &host = bench.session->host();
  const Histogram now = typical();
  std::vector<Contestant> contestants;
  for (Answer &answer : list) {
    progress(fmt::format("building what is compared: {}", answer.name));
    if (Status status = build(answer, now); !status.ok())
      return status;
    // Which variant a step takes is known before, and going there is not timed: the rival's choice costs nothing.
    auto step = [&](uint32_t index) -> Result<uint64_t> {
      const uint32_t sample = index % scenario.samples();
      if (Status status = host.publish(answer.generations[answer.chosen[sample]]); !status.ok())
        return status;
      return bench.run(scenario.sample(sample));
    };
    auto enter = [&, block = 0u]() mutable -> Status {
      const std::string round = block == 0 ? "warming up" : fmt::format("round {} of {}", block, repeats);
      progress(fmt::format("comparing, {}: {}", round, answer.name));
      ++block;
      return {};
    };
    contestants.push_back({answer.name, enter, step});
  }
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start; // building
  Result<std::vector<std::vector<double>>> times =
      contest(contestants,
              {.repeats = repeats, .fewestSteps = 2, .period = scenario.samples(), .seconds = seconds - spent.count()});
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
  result.ran = !candidates.empty();
  if (!result.ran)
    return result;
  result.sets = sets;
  result.measured = candidates.size();
  auto half = [&](const std::string &name, size_t parity) {
    std::vector<double> values;
    const std::vector<double> &all = of(name).tokensPerSecond;
    for (size_t repeat = 0; repeat < all.size(); ++repeat)
      if (repeat % 2 == parity || all.size() == 1)
        values.push_back(all[repeat]);
    return values;
  };
  result.best =
      *std::max_element(candidates.begin(), candidates.end(), [&](const std::string &a, const std::string &b) {
        return median(half(a, 1)) < median(half(b, 1));
      });
  result.swappedOverBest = ratioOf(half("swapped", 0), half(result.best, 0));
  return result;
}

} // namespace moec::tool
