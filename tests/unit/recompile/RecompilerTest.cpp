#include "tests/unit/recompile/Replays.h"

#include <thread>

using namespace moec;
using namespace moec::test;

namespace {

std::string lastDecision(const MemorySink &sink) {
  for (auto line = sink.lines.rbegin(); line != sink.lines.rend(); ++line)
    if (line->find("\"event\":\"decision\"") != std::string::npos)
      return line->substr(0, 500);
  return "no decision";
}

} // namespace

TEST_CASE("a build that fails is an event, serving goes on, and it is not tried again at once", "[recompile][loop]") {
  struct Case {
    Code code;
    const char *message;
  };
  auto [code, message] =
      GENERATE(Case{Code::CompileFailed, "out of registers"}, Case{Code::VerificationMismatch, "relative error 0.3"},
               Case{Code::ResourceExhausted, "no memory for packing"});
  Simulation simulation;
  simulation.host->onBuild = [&](auto &) { return makeError(code, "{}", message); };
  simulation.run(1000, domain(32));
  CHECK(simulation.host->live == 0);
  CHECK(simulation.loop->stats().failedBuilds == simulation.host->builds);
  REQUIRE(simulation.host->builds >= 1);
  CHECK(simulation.host->builds <= 3); // each kind of change at most once within the back-off
  CHECK(simulation.count(Reason::BackedOff) > 0);
  auto outcomes = simulation.all<BuildOutcome>();
  REQUIRE_FALSE(outcomes.empty());
  CHECK(outcomes[0].code == code);
  CHECK(outcomes[0].message == message);
  CHECK_FALSE(simulation.loop->busy());
  CHECK(replays(simulation));
}

TEST_CASE("after the back-off a failed change is tried again", "[recompile][loop]") {
  Simulation::Options options;
  options.loop.policy.backOffNs = 1'000'000'000;
  Simulation simulation(options);
  bool fail = true;
  simulation.host->onBuild = [&](auto &) { return fail ? makeError(Code::CompileFailed, "broken") : Status(); };
  simulation.run(400, domain(32));
  CHECK(simulation.host->live == 0);
  fail = false;
  simulation.nowNs += 100'000'000'000;
  simulation.run(800, domain(32));
  CHECK(simulation.host->live != 0);
  CHECK(replays(simulation));
}

TEST_CASE("a build that hangs is cancelled at its deadline", "[recompile][loop]") {
  Simulation simulation;
  simulation.host->onBuild = [&](const std::function<bool()> &cancelled) {
    while (!cancelled())
      simulation.nowNs += 1'000'000'000;
    CHECK(simulation.loop->stats().pendingAgeNs >= simulation.options.loop.buildDeadlineNs);
    return makeError(Code::Cancelled, "stopped in code generation");
  };
  simulation.run(400, domain(32));
  auto outcomes = simulation.all<BuildOutcome>();
  REQUIRE_FALSE(outcomes.empty());
  CHECK(outcomes[0].code == Code::Cancelled);
  CHECK(outcomes[0].message.find("cancelled after 6") == 0); // 60 s, the default deadline
  CHECK(simulation.loop->stats().pendingAgeNs == 0);
  CHECK(simulation.host->live == 0);
  CHECK(replays(simulation));
}

TEST_CASE("steps beside a build are all counted, though rings hold a few dozen", "[recompile][loop]") {
  Simulation::Options options;
  options.loop.periodNs = 1'000'000;
  Simulation simulation(options);
  constexpr uint32_t rounds = 12, each = 48;                                     // a ring holds 64
  const uint64_t expectedWindows = rounds * each / options.loop.windowSteps - 1; // the first and last are shared
  uint64_t during = 0, windows = 0;
  simulation.host->onBuild = [&](auto &) {
    if (during)
      return Status();
    const uint64_t before = simulation.loop->stats().samples, windowsBefore = simulation.loop->stats().windows;
    const std::vector<uint32_t> pairs(64, 2);
    for (uint32_t round = 1; round <= rounds; ++round) {
      for (uint32_t step = 0; step < each; ++step)
        simulation.loop->monitor().observe(
            {.layer = simulation.options.layers.front(), .tokens = 16, .pairs = pairs, .layerNs = 1000});
      for (int patience = 0; patience < 10000 && simulation.loop->stats().samples < before + round * each; ++patience)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    during = simulation.loop->stats().samples - before;
    // Windows are handed on behind the samples' count.
    for (int patience = 0; patience < 10000 && windows < expectedWindows; ++patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      windows = simulation.loop->stats().windows - windowsBefore;
    }
    return Status();
  };
  simulation.run(400, domain(32));
  CHECK(during == rounds * each);
  CHECK(windows >= expectedWindows);
  CHECK(simulation.loop->stats().skippedSamples == 0);
  CHECK(simulation.host->live != 0);
  CHECK(replays(simulation));
}

TEST_CASE("a generation that cannot be published is retired and backed off", "[recompile][loop]") {
  Simulation simulation;
  simulation.host->publishFails = true;
  simulation.run(600, domain(32));
  CHECK(simulation.host->live == 0);
  CHECK(simulation.host->generations.size() == 1);
  CHECK(simulation.loop->stats().failedBuilds >= 1);
  CHECK(simulation.all<SwapEvent>().empty());
  CHECK(replays(simulation));
}

TEST_CASE("what measures worse than before is rolled back, retired and remembered", "[recompile][loop]") {
  Simulation simulation;
  simulation.host->truth = 3; // new generations take three times what the model says
  simulation.run(1500, domain(32));
  RecompilerStats stats = simulation.loop->stats();
  CHECK(stats.rolledBack >= 1);
  CHECK(stats.kept == 0);
  CHECK(simulation.host->live == 0);
  CHECK(simulation.host->generations.size() == 1);
  CHECK(simulation.count(Reason::BackedOff) > 0);
  CHECK(simulation.host->builds <= 3);
  auto judgements = simulation.all<JudgementRecord>();
  REQUIRE_FALSE(judgements.empty());
  CHECK_FALSE(judgements[0].kept);
  CHECK(judgements[0].predictedGain > 0);
  CHECK(judgements[0].measuredHigh < 0);
  CHECK(replays(simulation));
}

TEST_CASE("a kept generation's measured gain is near its predicted one", "[recompile][loop]") {
  Simulation simulation;
  simulation.run(1500, domain(32));
  auto judgements = simulation.all<JudgementRecord>();
  REQUIRE_FALSE(judgements.empty());
  for (const JudgementRecord &judgement : judgements) {
    CHECK(judgement.kept);
    CHECK(judgement.measuredGain == Approx(judgement.predictedGain).margin(0.05));
    CHECK(judgement.measuredLow <= judgement.measuredGain);
    CHECK(judgement.measuredGain <= judgement.measuredHigh);
  }
  // Generation 0 stays for spills; superseded ones are gone.
  CHECK(simulation.host->generations.size() == 2);
}

TEST_CASE("kernels are compiled once; a session that knows them reuses them", "[recompile][loop]") {
  Simulation::Options options = Simulation::withBudget(1.0);
  options.streamScale = 0.05; // tiles, not memory, are what a step waits for
  options.tokens = 256;
  std::string config;
  {
    Simulation simulation(options);
    simulation.run(1000, domain(0), 24); // few rows an expert want other tile heights
    REQUIRE(simulation.changes().size() == 1);
    const DecisionRecord change = simulation.changes()[0];
    CHECK(change.verdict == Verdict::Compile);
    REQUIRE(change.causes.size() == 1);
    CHECK(change.causes[0].name == "tile-heights");
    CHECK(change.cost.compileMs > 0);
    CHECK(simulation.host->kernelsBuilt > 0);
    config = change.toConfig;
    CHECK(replays(simulation));
  }
  options.loop.knownConfigs = {config};
  Simulation simulation(options);
  simulation.host->built.insert(config);
  simulation.run(1000, domain(0), 24);
  REQUIRE(simulation.changes().size() == 1);
  CHECK(simulation.changes()[0].verdict == Verdict::Reuse);
  CHECK(simulation.changes()[0].cost.compileMs == 0);
  CHECK(simulation.host->kernelsBuilt == 0);
  CHECK(replays(simulation));
}

TEST_CASE("under its own thread the loop swaps while four threads step", "[recompile][loop][threads]") {
  RecompilerOptions options;
  options.layers = {0};
  options.windowSteps = 8;
  options.periodNs = 1'000'000;
  options.measurePairs = 8;
  options.policy.firstCost = {.compileMs = 0.01, .packMs = 0, .loadMs = 0.01, .validateMs = 0.01};
  options.policy.firstPackNsPerByte = 1e-6;
  options.policy.coolDownNs = 0;
  options.policy.backOffNs = 1'000'000; // a loaded machine may measure what it likes
  options.niceness = 0;                 // four threads never rest beside the loop's
  options.idlePatienceNs = 0;
  options.profile.defaultTokens = 32;
  SimulatedHost host({0}, 32, {.packBudgetBytes = budgetOf(0.4)});
  Mutex hostMutex; // the simulated host, unlike a session, has no steps of its own
  std::atomic<bool> stop{false};
  MemorySink sink;
  {
    struct LockedHost : GenerationHost {
      LockedHost(SimulatedHost &host, Mutex &mutex) : host(host), mutex(mutex) {}
      LayerShape layerShape(uint32_t layer) const override { return host.layerShape(layer); }
      TargetFacts facts() const override { return host.facts(); }
      Calibration calibration() const override { return host.calibration(); }
      PlanLimits limits(uint32_t layer) const override { return host.limits(layer); }
      LayerPlan livePlan(uint32_t layer) const override { return host.livePlan(layer); }
      LayerConfig genericConfig(uint32_t layer) const override { return host.genericConfig(layer); }
      Result<BuildReport> build(const std::map<uint32_t, LayerPlan> &plans,
                                const std::map<uint32_t, Histogram> &plannedFor,
                                const std::function<bool()> &cancelled) override {
        Lock lock(mutex);
        return host.build(plans, plannedFor, cancelled);
      }
      Status publish(uint64_t generation) override {
        Lock lock(mutex);
        return host.publish(generation);
      }
      void retire(uint64_t generation) override {
        Lock lock(mutex);
        host.retire(generation);
      }
      Status alternate(uint64_t incumbent, uint64_t challenger, bool on) override {
        Lock lock(mutex);
        return host.alternate(incumbent, challenger, on);
      }
      SimulatedHost &host;
      Mutex &mutex;
    } locked(host, hostMutex);
    Recompiler loop(locked, options, &sink);
    REQUIRE(loop.start().ok());
    std::vector<std::thread> threads;
    for (uint32_t thread = 0; thread < 4; ++thread)
      threads.emplace_back([&, thread] {
        std::mt19937_64 random(thread);
        while (!stop) {
          // Each change that paid moves the routing again.
          Histogram histogram = draw(domain(loop.stats().kept % 2 ? 0 : 32), 32, 8, random);
          uint64_t generation;
          double ns;
          {
            Lock lock(hostMutex);
            generation = host.pin();
            ns = host.stepNs(generation, 0, histogram);
          }
          loop.monitor().observe({.layer = 0,
                                  .tokens = 32,
                                  .pairs = histogram.pairs,
                                  .layerNs = static_cast<uint64_t>(ns),
                                  .generation = generation});
        }
      });
    while (loop.stats().kept < 3) // the test's own time is the bound
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    stop = true;
    for (std::thread &thread : threads)
      thread.join();
    loop.stop();
    INFO(sink.lines.size() << " lines; " << lastDecision(sink));
    CHECK(loop.stats().pendingAgeNs == 0);
  }
  CHECK(sink.lines.size() > 3);
  CHECK(sink.lines.back().find("\"event\":\"end\"") != std::string::npos);
}
