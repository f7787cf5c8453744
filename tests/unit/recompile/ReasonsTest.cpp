// The reasons that a decision can have, one by one: what brings each about, what it says, and that
// it makes no change (or which). PlanFits, NothingBetter, GainBelowMargin, NeverRepaid, NotAsked,
// Requested, RateLimited, HookKept and BackedOff are in PolicyTest and RecompilerTest.
#include "tests/unit/recompile/Replays.h"

using namespace moec;
using namespace moec::test;

namespace {

std::vector<DecisionRecord> withReason(const Simulation &simulation, Reason reason) {
  std::vector<DecisionRecord> found = simulation.all<DecisionRecord>();
  std::erase_if(found, [&](const DecisionRecord &record) { return record.reason != reason; });
  return found;
}

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

/// A GPU under a load for which only other kernels help.
Simulation::Options otherLoadOnGpu() {
  Simulation::Options options;
  const Result<TargetFacts> h200 = targetByName("h200", {});
  REQUIRE(h200.ok());
  options.machine = *h200;
  return options;
}

} // namespace

TEST_CASE("accumulating: a change that gains waits until its regret has paid for it", "[recompile][reasons]") {
  Simulation simulation;
  while (simulation.changes().empty() && simulation.steppedNs < 100e9)
    simulation.run(8, domain(32));
  REQUIRE_FALSE(simulation.changes().empty());
  const std::vector<DecisionRecord> waits = withReason(simulation, Reason::Accumulating);
  REQUIRE_FALSE(waits.empty());
  const DecisionRecord &last = waits.back();
  CHECK(last.verdict == Verdict::Keep);
  CHECK(last.gain >= simulation.options.loop.policy.minGain);
  CHECK(isChange(last.considered));
  CHECK(last.prediction.regretNs > 0);
  CHECK(last.id < simulation.changes().front().id); // first it waited, then it changed
  CHECK(last.prediction.regretNs < simulation.changes().front().prediction.regretNs);
  CHECK(replays(simulation));
}

TEST_CASE("cooling down: what would pay waits for the last change's time to pass", "[recompile][reasons]") {
  Simulation::Options options;
  options.loop.policy.coolDownNs = 1'000'000'000'000;
  Simulation simulation(options);
  simulation.run(1500, domain(32));
  REQUIRE(simulation.changes().size() == 1);
  simulation.run(1500, domain(0));
  REQUIRE(simulation.changes().size() == 1);
  const std::vector<DecisionRecord> refused = withReason(simulation, Reason::CoolingDown);
  REQUIRE_FALSE(refused.empty());
  CHECK(refused[0].verdict == Verdict::Refuse);
  CHECK(contains(refused[0].text, "it would pay (regret of "));
  CHECK(contains(refused[0].text, "the last change is too recent"));
  // The same routing changes the plan as soon as it has passed.
  simulation.nowNs += options.loop.policy.coolDownNs;
  simulation.run(400, domain(0));
  CHECK(simulation.changes().size() == 2);
  CHECK(replays(simulation));
}

TEST_CASE("compile forbidden: strict mode names the kernels that it may not build", "[recompile][reasons]") {
  Simulation::Options options = otherLoadOnGpu();
  options.loop.mode = LoopMode::Strict;
  Simulation simulation(options);
  simulation.run(4000, std::vector<double>(64, 1.0 / 64), 1024);
  const std::vector<DecisionRecord> refused = withReason(simulation, Reason::CompileForbidden);
  REQUIRE_FALSE(refused.empty());
  CHECK(refused[0].verdict == Verdict::Refuse);
  CHECK(refused[0].considered == Verdict::Compile);
  CHECK(contains(refused[0].text, refused[0].toConfig.c_str()));
  CHECK(contains(refused[0].text, "never compiles"));
  CHECK(simulation.host->builds == 0);
  CHECK(replays(simulation));
}

TEST_CASE("measuring: while one change is in flight no layer begins another", "[recompile][reasons]") {
  Simulation::Options options;
  options.layers = {0, 1};
  Simulation simulation(options);
  // Each layer's steps by its own routing.
  auto run = [&](uint32_t steps, const std::vector<double> &first, const std::vector<double> &second) {
    for (uint32_t step = 0; step < steps; ++step) {
      uint64_t generation = simulation.host->pin();
      for (uint32_t layer : options.layers) {
        Histogram histogram =
            draw(layer ? second : first, options.tokens, simulation.host->shape.topK, simulation.random);
        double ns = simulation.host->stepNs(generation, layer, histogram);
        simulation.nowNs += static_cast<int64_t>(ns);
        simulation.loop->monitor().observe({.layer = layer,
                                            .tokens = options.tokens,
                                            .pairs = histogram.pairs,
                                            .layerNs = static_cast<uint64_t>(ns),
                                            .generation = generation});
      }
      if (step % 8 == 7)
        simulation.loop->pump();
    }
  };
  const std::vector<double> even(64, 1.0 / 64);
  while (!simulation.loop->busy() && simulation.nowNs < 100'000'000'000)
    run(8, domain(32), even);
  REQUIRE(simulation.loop->busy());
  REQUIRE(simulation.changes().size() == 1);
  simulation.loop->request(); // not even when asked
  while (simulation.loop->busy())
    run(8, domain(32), domain(32));
  for (const DecisionRecord &record : withReason(simulation, Reason::Measuring)) {
    CHECK(record.verdict == Verdict::Keep);
    CHECK(contains(record.text, "another change is being built or measured"));
  }
  CHECK_FALSE(withReason(simulation, Reason::Measuring).empty());
  CHECK(simulation.host->builds == 1);
  // When it is over the other layer has its turn.
  run(1500, domain(32), domain(32));
  CHECK(simulation.host->builds == 2);
  CHECK(simulation.changes().back().statistics.layer == 1);
  CHECK(replays(simulation));
}

TEST_CASE("hook refused: a user's policy can refuse what would pay", "[recompile][reasons]") {
  Simulation::Options options;
  options.loop.hooks.policy = [](const DecisionRecord &proposed) {
    return isChange(proposed.verdict) ? Verdict::Refuse : proposed.verdict;
  };
  Simulation simulation(options);
  simulation.run(1500, domain(32));
  CHECK(simulation.host->builds == 0);
  const std::vector<DecisionRecord> refused = withReason(simulation, Reason::HookRefused);
  REQUIRE_FALSE(refused.empty());
  CHECK(refused[0].verdict == Verdict::Refuse);
  CHECK(contains(refused[0].text, "the user's policy said refuse; ours: regret of "));
  CHECK(replays(simulation));
}

TEST_CASE("hook changed: a user's policy can change what would be kept, to any plan but a forbidden one",
          "[recompile][reasons]") {
  Simulation::Options options;
  options.loop.hooks.policy = [](const DecisionRecord &proposed) {
    return proposed.reason == Reason::Accumulating ? Verdict::Retable : proposed.verdict;
  };
  Simulation simulation(options);
  simulation.run(1500, domain(32));
  const std::vector<DecisionRecord> changed = withReason(simulation, Reason::HookChanged);
  REQUIRE_FALSE(changed.empty());
  CHECK(changed[0].verdict == Verdict::Retable);
  CHECK(changed[0].considered == Verdict::Retable);
  CHECK(changed[0].fromConfig == changed[0].toConfig);
  CHECK(contains(changed[0].text, "the user's policy said retable; ours: "));
  CHECK(simulation.host->builds >= 1);
  CHECK(replays(simulation));

  // Strict mode: not even a user's policy compiles.
  Simulation::Options strict = otherLoadOnGpu();
  strict.loop.mode = LoopMode::Strict;
  strict.loop.hooks.policy = [](const DecisionRecord &) { return Verdict::Compile; };
  Simulation forbidden(strict);
  forbidden.run(4000, std::vector<double>(64, 1.0 / 64), 1024);
  REQUIRE_FALSE(forbidden.all<DecisionRecord>().empty());
  CHECK(forbidden.count(Reason::HookChanged) == 0);
  CHECK(forbidden.host->builds == 0);
  CHECK(replays(forbidden));
}
