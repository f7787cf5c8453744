#include "tests/unit/recompile/Replays.h"

using namespace moec;
using namespace moec::test;

namespace {

std::vector<double> uniformShares() { return std::vector<double>(64, 1.0 / 64); }

} // namespace

TEST_CASE("routing as planned for changes nothing", "[recompile][policy]") {
  Simulation simulation(Simulation::withBudget(1.0));
  simulation.run(3000, uniformShares());
  CHECK(simulation.host->builds == 0);
  REQUIRE_FALSE(simulation.all<PredictionRecord>().empty());
  for (const DecisionRecord &decision : simulation.all<DecisionRecord>())
    CHECK(decision.verdict == Verdict::Keep);
  CHECK(replays(simulation));
}

TEST_CASE("hot experts that move make one change where packing is short", "[recompile][policy]") {
  Simulation simulation;
  simulation.run(1500, domain(32));
  size_t settled = simulation.changes().size();
  CHECK(settled == 1);
  simulation.run(1500, domain(0));
  REQUIRE(simulation.changes().size() == settled + 1);
  const DecisionRecord change = simulation.changes().back();
  CHECK(change.reason == Reason::Pays);
  CHECK(change.prediction.regretNs >= change.cost.ns());
  CHECK(change.gain >= simulation.options.loop.policy.minGain);

  // The named causes are the whole gain of the bucket, and packing is one of them.
  double sum = 0;
  bool packing = false;
  for (const Cause &cause : change.causes) {
    sum += cause.gainNs;
    packing |= cause.name == "packing" && cause.text.find("experts newly packed") == 0 && cause.gainNs > 0;
  }
  CHECK(packing);
  CHECK(sum == Approx(change.gainNs).epsilon(1e-9));
  CHECK(simulation.loop->stats().kept == simulation.loop->stats().changes);
  CHECK(replays(simulation));
}

TEST_CASE("slots that became too few are answered by a new table alone", "[recompile][policy]") {
  Simulation::Options options = Simulation::withBudget(1.0);
  options.prepare = [](SimulatedHost &host) {
    // Spilled experts go to kernels of one row, which read their weights once for each of them.
    LayerPlan &generic = host.generations[0][0];
    generic.config.cpu.tileRows = {1};
    std::mt19937_64 random(1);
    const Histogram steady = draw(domain(0), 32, 8, random);
    host.generations[1][0] = planLayer(host.shape, steady, host.machine, host.model, host.planLimits);
    host.live = 1;
    host.last = std::max(host.last, host.live);
    host.built.insert(host.generations[1][0].config.text());
  };
  options.loop.liveGeneration = 1;
  Simulation simulation(options);
  const LayerPlan before = simulation.host->livePlan(0);
  simulation.run(1500, domain(32));
  REQUIRE_FALSE(simulation.changes().empty());
  const DecisionRecord change = simulation.changes().front();
  CHECK(change.verdict == Verdict::Retable);
  CHECK(change.cost.compileMs + change.cost.packMs + change.cost.loadMs == 0);
  bool spills = false;
  for (const Cause &cause : change.causes)
    spills |= cause.name == "spills" && cause.gainNs > 0;
  CHECK(spills);
  REQUIRE(change.plan);
  CHECK(change.plan->config == before.config);
  CHECK(change.plan->table.packed == before.table.packed);
  CHECK(change.plan->table.slots != before.table.slots);
  CHECK(simulation.host->kernelsBuilt == 0);
  CHECK(replays(simulation));
}

TEST_CASE("a layer's plans stay within its host's limits", "[recompile][policy]") {
  Simulation simulation(Simulation::withBudget(0.25));
  simulation.run(1500, domain(32));
  REQUIRE_FALSE(simulation.changes().empty());
  const uint64_t expertBytes = packedExpertBytes(simulation.host->shape, simulation.host->machine);
  for (const DecisionRecord &change : simulation.changes()) {
    REQUIRE(change.plan);
    const auto &packed = change.plan->table.packed;
    CHECK(static_cast<uint64_t>(std::count(packed.begin(), packed.end(), 1)) * expertBytes <= budgetOf(0.25));
  }
}

TEST_CASE("what a host has measured stands in for assumed costs", "[recompile][policy]") {
  struct MeasuringHost : SimulatedHost {
    using SimulatedHost::SimulatedHost;
    BuildCosts costs() const override { return {.compileMs = 70, .loadMs = 0, .validateMs = 90, .packNsPerByte = 6}; }
  } host({0}, 32, {});
  RecompilerOptions loop;
  loop.layers = {0};
  const PolicySetup setup = Recompiler::setupOf(host, loop);
  CHECK(setup.config.firstCost.compileMs == 70);
  CHECK(setup.config.firstCost.loadMs == PolicyConfig().firstCost.loadMs); // not known: assumed
  CHECK(setup.config.firstCost.validateMs == 90);
  CHECK(setup.config.firstPackNsPerByte == 6);
}

TEST_CASE("a move that no plan helps is refused, and the reason has the numbers", "[recompile][policy]") {
  Simulation simulation(Simulation::withBudget(1.0));
  simulation.run(1500, domain(0));
  uint32_t builds = simulation.host->builds;
  simulation.run(1500, domain(32));
  CHECK(simulation.host->builds == builds);
  auto decisions = simulation.all<DecisionRecord>();
  REQUIRE_FALSE(decisions.empty());
  const DecisionRecord &last = decisions.back();
  CHECK(last.verdict == Verdict::Refuse);
  CHECK((last.reason == Reason::NothingBetter || last.reason == Reason::GainBelowMargin));
  CHECK(last.text.find("every expert is packed (64 of 64)") != std::string::npos);
  CHECK(replays(simulation));
}

TEST_CASE("a cost beyond the horizon is refused as never repaid", "[recompile][policy]") {
  Simulation::Options options;
  options.loop.policy.repayHorizonSteps = 10;
  options.loop.policy.firstCost.validateMs = 10'000; // a re-table pays neither
  Simulation simulation(options);
  simulation.run(1000, domain(32));
  CHECK(simulation.host->builds == 0);
  CHECK(simulation.count(Reason::NeverRepaid) > 0);
  CHECK(replays(simulation));
}

TEST_CASE("strict mode re-tables and reuses but never compiles", "[recompile][policy]") {
  Simulation::Options options;
  options.tokens = 512;
  options.loop.mode = LoopMode::Strict;
  Simulation simulation(options);
  simulation.run(1500, domain(32), 24);
  CHECK(simulation.host->kernelsBuilt == 0);
  for (const DecisionRecord &decision : simulation.changes())
    CHECK(decision.verdict != Verdict::Compile);
  CHECK(replays(simulation));
}

TEST_CASE("manual mode waits to be told, then takes the best change", "[recompile][policy]") {
  Simulation::Options options;
  options.loop.mode = LoopMode::Manual;
  Simulation simulation(options);
  simulation.run(800, domain(32));
  CHECK(simulation.host->builds == 0);
  CHECK(simulation.count(Reason::NotAsked) > 0);
  simulation.loop->request();
  simulation.run(400, domain(32));
  REQUIRE(simulation.changes().size() == 1);
  CHECK(simulation.changes()[0].reason == Reason::Requested);
  CHECK(simulation.host->live != 0);
  CHECK(replays(simulation));
}

TEST_CASE("off mode observes nothing and decides nothing", "[recompile][policy]") {
  Simulation::Options options;
  options.loop.mode = LoopMode::Off;
  Simulation simulation(options);
  simulation.run(800, domain(32));
  CHECK(simulation.events.empty());
  CHECK(simulation.host->builds == 0);
}

TEST_CASE("changes per minute are limited", "[recompile][policy]") {
  Simulation::Options options;
  options.loop.policy.changesPerMinute = 1;
  options.loop.policy.coolDownNs = 0;
  Simulation simulation(options);
  for (uint32_t turn = 0; turn < 4; ++turn)
    simulation.run(1200, domain(32 * (turn % 2 ? 0 : 1)));
  auto minutes = static_cast<double>(simulation.nowNs) * 1e-9 / 60;
  CHECK(static_cast<double>(simulation.loop->stats().changes) <= 1 + minutes);
  CHECK(simulation.count(Reason::RateLimited) > 0);
  CHECK(replays(simulation));
}

TEST_CASE("several layers that drift together share one generation", "[recompile][policy]") {
  Simulation::Options options;
  options.layers = {2, 7, 9};
  Simulation simulation(options);
  simulation.run(1500, domain(32));
  CHECK(simulation.changes().size() >= 3);
  CHECK(simulation.host->builds < simulation.changes().size());
  CHECK(replays(simulation));
}

TEST_CASE("a user's trigger and policy have their say, and replay needs neither", "[recompile][policy]") {
  Simulation::Options options;
  uint32_t triggered = 0;
  options.loop.hooks.trigger = [&](const LayerStatistics &seen) { return ++triggered > 5 && seen.imbalance > 1; };
  options.loop.hooks.policy = [](const DecisionRecord &proposed) {
    return proposed.verdict == Verdict::Retable ? Verdict::Refuse : proposed.verdict;
  };
  Simulation simulation(options);
  simulation.run(1500, domain(32));
  CHECK(simulation.count(Reason::HookKept) == 1); // said once, not at every tick
  for (const DecisionRecord &decision : simulation.changes())
    CHECK(decision.verdict != Verdict::Retable);
  CHECK_FALSE(simulation.all<HookEvent>().empty());
  CHECK(replays(simulation));
}

TEST_CASE("decode and prefill in turns do not throw each other's plan out", "[recompile][policy]") {
  Simulation simulation;
  for (uint32_t turn = 0; turn < 30; ++turn) {
    simulation.run(64, domain(32), 8);
    simulation.run(32, domain(32), 64);
  }
  size_t early = simulation.changes().size();
  for (uint32_t turn = 0; turn < 60; ++turn) {
    simulation.run(64, domain(32), 8);
    simulation.run(32, domain(32), 64);
  }
  CHECK(early >= 1);
  CHECK(early <= 4);
  CHECK(simulation.changes().size() <= early + 1);
  // Slots hold both: the live plan never spills the larger step.
  const LayerPlan live = simulation.host->livePlan(0);
  Histogram prefill = draw(domain(32), 64, 8, simulation.random);
  uint32_t overflowing = 0;
  for (uint32_t expert = 0; expert < 64; ++expert)
    overflowing += prefill.pairs[expert] > live.table.slots[expert];
  CHECK(overflowing <= 3);
  CHECK(replays(simulation));
}

TEST_CASE("on a GPU other loads get other kernels, experts that move do not", "[recompile][policy][gpu]") {
  Simulation::Options options;
  const Result<TargetFacts> h200 = targetByName("h200", {});
  REQUIRE(h200.ok());
  options.machine = *h200;
  Simulation simulation(options);
  simulation.host->compileMs = 5;
  simulation.run(1500, domain(32));
  simulation.run(1500, domain(0));
  CHECK(simulation.host->kernelsBuilt == 0);
  CHECK(simulation.host->builds == 0);
  simulation.run(4000, uniformShares(), 1024);
  REQUIRE_FALSE(simulation.changes().empty());
  CHECK(simulation.changes().back().verdict == Verdict::Compile);
  const LayerPlan live = simulation.host->livePlan(0);
  CHECK(live.config.cuda.gateUp.tokens > simulation.host->genericConfig(0).cuda.gateUp.tokens);
  CHECK(replays(simulation));
}
