// A session that costs what a model of the machine says, under a virtual clock: the loop's whole
// behaviour without a kernel, a thread or a wait.
#pragma once

#include "runtime/recompile/Recompiler.h"
#include "runtime/trace/Replay.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace moec::test {

/// Keeps the lines of a trace.
class MemorySink : public LineSink {
public:
  bool write(std::string line) override {
    lines.push_back(std::move(line));
    return true;
  }
  std::string text(const std::string &header) const {
    std::string text = header + "\n";
    for (const std::string &line : lines)
      text += line + "\n";
    return text;
  }
  std::vector<std::string> lines;
};

/// OLMoE's layer, as two cores of a bf16 machine see it.
inline LayerShape olmoeShape() {
  return {.hidden = 2048, .intermediate = 1024, .experts = 64, .topK = 8, .dtype = DType::BF16};
}
inline TargetFacts twoCores() {
  return {.name = "cpu-avx512bf16", .isa = CpuIsa::Avx512Bf16, .threads = 2, .l2Bytes = 1u << 20};
}

/// Shares of a Zipf law over the experts, its ranks turned by `rotation` experts.
inline std::vector<double> zipf(uint32_t experts, double exponent, uint32_t rotation = 0) {
  std::vector<double> shares(experts);
  double sum = 0;
  for (uint32_t rank = 0; rank < experts; ++rank)
    sum += shares[(rank + rotation) % experts] = 1 / std::pow(rank + 1.0, exponent);
  for (double &share : shares)
    share /= sum;
  return shares;
}

/// Traffic of one domain: `hot` experts from `first` on share 97 % of the pairs, the others the
/// rest.
inline std::vector<double> domain(uint32_t first, uint32_t experts = 64, uint32_t hot = 24) {
  std::vector<double> shares(experts, 0.03 / (experts - hot));
  for (uint32_t i = 0; i < hot; ++i)
    shares[(first + i) % experts] = 0.97 / hot;
  return shares;
}

/// One step's counts: T*K draws by share.
inline Histogram draw(const std::vector<double> &shares, uint32_t tokens, uint32_t topK, std::mt19937_64 &random) {
  std::discrete_distribution<uint32_t> expert(shares.begin(), shares.end());
  Histogram histogram{tokens, std::vector<uint32_t>(shares.size(), 0)};
  for (uint32_t pair = 0; pair < tokens * topK; ++pair)
    ++histogram.pairs[expert(random)];
  return histogram;
}

class SimulatedHost : public GenerationHost {
public:
  SimulatedHost(std::vector<uint32_t> layers, uint32_t tokens, PlanLimits limits, double streamScale = 1,
                const TargetFacts &target = twoCores())
      : machine(target), planLimits(limits) {
    model.streamNsPerByte *= streamScale;
    for (uint32_t layer : layers)
      generations[0][layer] = planGenericLayer(shape, tokens, machine, model, limits);
    built.insert(generations[0].begin()->second.config.text());
  }

  LayerShape layerShape(uint32_t) const override { return shape; }
  TargetFacts facts() const override { return machine; }
  Calibration calibration() const override { return model; }
  PlanLimits limits(uint32_t) const override { return planLimits; }
  LayerPlan livePlan(uint32_t layer) const override { return generations.at(live).at(layer); }
  LayerConfig genericConfig(uint32_t layer) const override { return generations.at(0).at(layer).config; }

  Result<BuildReport> build(const std::map<uint32_t, LayerPlan> &plans, const std::map<uint32_t, Histogram> &,
                            const std::function<bool()> &cancelled) override {
    ++builds;
    if (onBuild)
      if (Status status = onBuild(cancelled); !status.ok())
        return status;
    BuildReport report{.generation = ++last};
    generations[last] = generations.at(live);
    for (const auto &[layer, plan] : plans) {
      for (uint32_t expert = 0; expert < shape.experts; ++expert)
        if (plan.table.packed[expert] && !generations[last][layer].table.packed[expert])
          report.packMs += packMsPerExpert;
      generations[last][layer] = plan;
      if (built.insert(plan.config.text()).second) {
        report.compileMs += compileMs;
        report.kernelsBuilt += static_cast<uint32_t>(plan.config.cpu.tileRows.size());
        kernelsBuilt += report.kernelsBuilt;
      }
    }
    report.loadMs = 1;
    report.validateMs = 4;
    spentNs += (report.compileMs + report.packMs + report.loadMs + report.validateMs) * 1e6;
    return report;
  }
  Status publish(uint64_t generation) override {
    if (publishFails)
      return makeError(Code::ResourceExhausted, "no memory");
    live = generation;
    return {};
  }
  void retire(uint64_t generation) override { generations.erase(generation); }
  Status alternate(uint64_t incumbent, uint64_t challenger, bool on) override {
    pair = {incumbent, challenger};
    alternating = on;
    return {};
  }

  /// The generation that the next step pins.
  uint64_t pin() {
    flip = !flip;
    return alternating ? (flip ? pair.first : pair.second) : live;
  }
  /// What a step really takes.
  double stepNs(uint64_t generation, uint32_t layer, const Histogram &histogram) const {
    double ns =
        predictLayer(shape, generations.at(generation).at(layer), genericConfig(layer), histogram, machine, model);
    return generation ? ns * truth : ns;
  }

  LayerShape shape = olmoeShape();
  TargetFacts machine;
  PlanLimits planLimits;
  Calibration model = Calibration::assumed(machine, DType::BF16);
  double truth = 1; // how much slower new generations really are than predicted
  double compileMs = 300, packMsPerExpert = 3;
  std::function<Status(const std::function<bool()> &cancelled)> onBuild;
  bool publishFails = false;

  std::map<uint64_t, std::map<uint32_t, LayerPlan>> generations;
  std::set<std::string> built;
  uint64_t live = 0, last = 0;
  uint32_t builds = 0, kernelsBuilt = 0;
  double spentNs = 0;

private:
  std::pair<uint64_t, uint64_t> pair;
  bool alternating = false, flip = false;
};

/// Experts that the budget packs, as bytes.
inline uint64_t budgetOf(double share) {
  return static_cast<uint64_t>(share * 64 * static_cast<double>(packedExpertBytes(olmoeShape(), twoCores())));
}

class Simulation {
public:
  struct Options {
    std::vector<uint32_t> layers = {0};
    uint32_t tokens = 32;
    double packBudget = 0.4;
    double streamScale = 1; // below 1: faster memory, so that tile heights matter
    TargetFacts machine = twoCores();
    RecompilerOptions loop;
    std::function<void(SimulatedHost &)> prepare; // before the loop looks at the host
    PlanLimits limits;                            // the pack budget is taken from `packBudget`
  };
  static Options defaults() { return {}; }
  static Options withBudget(double share) {
    Options options;
    options.packBudget = share;
    return options;
  }

  explicit Simulation(Options given = defaults()) : options(prepare(std::move(given))) {
    host = std::make_unique<SimulatedHost>(options.layers, options.tokens, options.limits, options.streamScale,
                                           options.machine);
    if (options.prepare)
      options.prepare(*host);
    options.loop.clock = [this] { return nowNs.load(); };
    options.loop.listener = [this](const TraceEvent &event) { events.push_back(event); };
    setup = Recompiler::setupOf(*host, options.loop);
    loop = std::make_unique<Recompiler>(*host, options.loop, &sink);
  }

  /// Runs steps whose tokens go to the experts by `shares`; every eighth step the loop gets its
  /// turn.
  void run(uint32_t steps, const std::vector<double> &shares, uint32_t tokens) {
    for (uint32_t step = 0; step < steps; ++step) {
      Histogram histogram = draw(shares, tokens, host->shape.topK, random);
      uint64_t generation = host->pin();
      for (uint32_t layer : options.layers) {
        // The machine's own noise, a few per cent: mean 1, never negative.
        double noise = std::clamp(std::normal_distribution<double>(1, 0.03)(random), 0.8, 1.2);
        double ns = host->stepNs(generation, layer, histogram) * noise;
        nowNs += static_cast<int64_t>(ns);
        steppedNs += ns;
        loop->monitor().observe({.layer = layer,
                                 .tokens = tokens,
                                 .pairs = histogram.pairs,
                                 .layerNs = static_cast<uint64_t>(ns),
                                 .generation = generation});
      }
      if (++sinceTurn % 8 == 0)
        loop->pump();
    }
  }
  void run(uint32_t steps, const std::vector<double> &shares) { run(steps, shares, options.tokens); }

  template <typename Event> std::vector<Event> all() const {
    std::vector<Event> found;
    for (const TraceEvent &event : events)
      if (const auto *wanted = std::get_if<Event>(&event))
        found.push_back(*wanted);
    return found;
  }
  std::vector<DecisionRecord> changes() const {
    std::vector<DecisionRecord> found = all<DecisionRecord>();
    std::erase_if(found, [](const DecisionRecord &record) { return !isChange(record.verdict); });
    return found;
  }
  uint32_t count(Reason reason) const {
    auto decisions = all<DecisionRecord>();
    return static_cast<uint32_t>(
        std::count_if(decisions.begin(), decisions.end(), [&](auto &record) { return record.reason == reason; }));
  }
  std::string traceText() const { return sink.text(traceHeader({"test", 1, 0}, setup)); }

  Options options;
  std::atomic<int64_t> nowNs = 1'000'000; // builds have a thread of their own
  double steppedNs = 0;
  std::unique_ptr<SimulatedHost> host;
  MemorySink sink;
  std::vector<TraceEvent> events;
  PolicySetup setup;
  std::mt19937_64 random{7};
  std::unique_ptr<Recompiler> loop; // last: it ends while the rest still stands

private:
  static Options prepare(Options given) {
    given.loop.layers = given.layers;
    given.loop.profile.defaultTokens = given.tokens;
    given.limits.packBudgetBytes = budgetOf(given.packBudget);
    return given;
  }
  uint32_t sinceTurn = 0;
};

} // namespace moec::test
