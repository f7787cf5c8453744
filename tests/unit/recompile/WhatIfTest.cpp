// Other policies on recorded routing, held against what a simulated host did.
#include "runtime/trace/WhatIf.h"
#include "tests/unit/Catch.h"
#include "tests/unit/recompile/Simulation.h"

#include <optional>
#include <sstream>

using namespace moec;
using namespace moec::test;

namespace {

using Values = std::vector<std::pair<std::string, std::string>>;

/// A simulation's trace, and policies tried on it.
struct Tried {
  explicit Tried(const Simulation &simulation) : Tried(simulation.traceText()) {}
  explicit Tried(const std::string &text) {
    Result<TraceFile> read = parseTrace({{"trace", text}});
    REQUIRE(read);
    CHECK(read->problems.empty());
    trace = std::make_unique<TraceFile>(std::move(*read));
    Result<WhatIf> made = WhatIf::of(*trace);
    REQUIRE(made);
    whatIf.emplace(std::move(*made));
  }

  PolicySetup setup(const Values &values) const {
    Result<PolicySetup> changed = changedSetup(trace->setup, values);
    INFO(changed.status().message());
    REQUIRE(changed);
    return *changed;
  }
  WhatIfRun run(const Values &values = {}) const { return whatIf->tried(setup(values)); }

  std::unique_ptr<TraceFile> trace;
  std::optional<WhatIf> whatIf;
};

void checkSame(const WhatIfRun &a, const WhatIfRun &b) {
  CHECK(a.changes == b.changes);
  CHECK(a.compiles == b.compiles);
  CHECK(a.kept == b.kept);
  CHECK(a.rolledBack == b.rolledBack);
  CHECK(a.stepNs == b.stepNs);
  CHECK(a.buildNs == b.buildNs);
  CHECK(a.windowNs == b.windowNs);
}

void play(Simulation &simulation) {
  simulation.run(800, domain(32));
  simulation.run(1200, domain(0));
}

} // namespace

TEST_CASE("the recorded policy, tried, does what it did, layer by layer", "[recompile][what-if]") {
  Simulation::Options options;
  options.layers = {3, 5};
  Simulation simulation(options);
  play(simulation);
  const Tried tried(simulation);
  const WhatIfRun &recorded = tried.whatIf->recorded();
  const RecompilerStats did = simulation.loop->stats();
  REQUIRE(did.changes == 2); // each of both layers together
  CHECK(recorded.changes == did.changes);
  CHECK(recorded.kept == did.kept);
  CHECK(recorded.rolledBack == 0);
  CHECK(recorded.failedBuilds == 0);
  CHECK(recorded.buildNs == Approx(simulation.host->spentNs));
  CHECK(recorded.paidNs == Approx(recorded.buildNs / twoCores().threads));
  uint64_t steps = 0, windows = 0;
  for (const CountsEvent &counts : simulation.all<CountsEvent>())
    steps += counts.window.steps, ++windows;
  CHECK(tried.whatIf->steps() == steps);
  CHECK(recorded.windowNs.size() == windows);
  // The machine's noise, and the last steps, which no window has.
  CHECK(recorded.stepNs == Approx(simulation.steppedNs).epsilon(0.03));
  CHECK(tried.whatIf->measuredNs() == Approx(tried.whatIf->predictedOfMeasuredNs()).epsilon(0.03));

  const WhatIfRun same = tried.run();
  CHECK(same.changes == 2);
  CHECK(same.kept == 2);
  CHECK(same.stepNs == Approx(recorded.stepNs).epsilon(0.01));
  CHECK(same.buildNs == Approx(recorded.buildNs).epsilon(0.2));
}

TEST_CASE("what was recorded late in a round belongs to it", "[recompile][what-if]") {
  Simulation::Options options;
  options.layers = {3, 5};
  Simulation simulation(options);
  play(simulation);
  // The second layer's windows come 2 ms after the first's, as where a busy machine takes the loop's thread away.
  std::string late;
  std::istringstream lines(simulation.traceText());
  for (std::string line; std::getline(lines, line); late += line + "\n")
    if (const size_t at = line.find("\"now_ns\":");
        line.find("\"event\":\"counts\"") != std::string::npos && line.find("\"layer\":5") != std::string::npos) {
      const size_t digits = at + 9, end = line.find_first_not_of("0123456789", digits);
      line.replace(digits, end - digits, std::to_string(std::stoll(line.substr(digits)) + 2'000'000));
    }
  checkSame(Tried(late).run(), Tried(simulation).run());
}

TEST_CASE("no change, and the best plan of each window, bound what a policy gains", "[recompile][what-if]") {
  Simulation simulation;
  play(simulation);
  const Tried tried(simulation);
  const WhatIfRun same = tried.run(), off = tried.run({{"mode", "off"}}), asked = tried.run({{"mode", "manual"}});
  CHECK(off.changes == 0);
  CHECK(off.buildNs == 0);
  checkSame(asked, off); // nobody did
  CHECK(same.changes > 0);
  CHECK(same.totalNs() < 0.97 * off.totalNs());
  CHECK(tried.run({{"min_gain", "1"}}).changes == 0);
  // What changes would cost decides: where a policy believes in minutes, these steps' regret never pays for one.
  CHECK(tried.run({{"first_pack_ns_per_byte", "1e6"}}).changes == 0);

  const PolicySetup roomy = tried.setup({{"pack_budget_bytes", "100%"}});
  const std::vector<WhatIfRun> runs = {same, off, tried.whatIf->tried(roomy)};
  const WhatIfRun best = tried.whatIf->best(std::vector<PolicySetup>{tried.trace->setup, roomy}, runs);
  REQUIRE(best.windowNs.size() == same.windowNs.size());
  for (size_t i = 0; i < best.windowNs.size(); ++i) {
    CHECK(best.windowNs[i] <= tried.whatIf->recorded().windowNs[i]);
    for (const WhatIfRun &run : runs)
      CHECK(best.windowNs[i] <= run.windowNs[i]);
  }
  // It does not live on what the runs had: the planner's own answer within the recorded limits is ahead of them, too.
  const WhatIfRun planned = tried.whatIf->best(std::vector<PolicySetup>{tried.trace->setup}, {});
  CHECK(planned.stepNs < same.stepNs);
  CHECK(best.stepNs < planned.stepNs);
}

TEST_CASE("a request in the trace reaches the policy that is tried, at once", "[recompile][what-if]") {
  Simulation::Options options;
  options.loop.mode = LoopMode::Manual;
  Simulation simulation(options);
  simulation.run(400, domain(32));
  CHECK(Tried(simulation).run().changes == 0);
  simulation.loop->request();
  simulation.loop->pump(); // the trace's last events: what it asks for is built, and no window sees it live
  const Tried asked(simulation);
  CHECK(asked.whatIf->recorded().changes == 1);
  CHECK(asked.run().changes == 0);
  simulation.run(400, domain(32));
  const Tried served(simulation);
  CHECK(served.run().changes == 1);
  CHECK(served.run().kept == 1);
}

TEST_CASE("a request that comes with windows is one round with them", "[recompile][what-if]") {
  Simulation simulation;
  for (int part = 0; part < 12; ++part) {
    simulation.run(64, domain(part < 6 ? 32 : 0));
    simulation.loop->request(); // what the next eight steps' round asks, which may have windows
  }
  const Tried tried(simulation);
  const WhatIfRun &recorded = tried.whatIf->recorded(), same = tried.run();
  REQUIRE(recorded.changes > 1);
  CHECK(same.changes == recorded.changes);
  CHECK(same.kept == recorded.kept);
  CHECK(same.stepNs == Approx(recorded.stepNs).epsilon(0.01));
}

TEST_CASE("kernels that have to be built are compiles, at the cost that they had", "[recompile][what-if]") {
  Simulation::Options options = Simulation::withBudget(1.0);
  options.streamScale = 0.05; // tiles, not memory, are what a step waits for
  options.tokens = 256;
  Simulation simulation(options);
  simulation.host->compileMs = 700;
  simulation.run(1000, domain(0), 24); // few rows an expert want other tile heights
  REQUIRE(simulation.changes().size() == 1);
  const Tried tried(simulation);
  CHECK(tried.whatIf->recorded().compiles == 1);
  const WhatIfRun same = tried.run();
  CHECK(same.changes == 1);
  CHECK(same.compiles == 1);
  CHECK(same.buildNs == Approx(705e6)); // load and validation take 5 ms
  CHECK(tried.run({{"mode", "strict"}}).compiles == 0);
}

TEST_CASE("a change that a policy does not think enough is undone, and backed off", "[recompile][what-if]") {
  Simulation simulation;
  play(simulation);
  const Tried tried(simulation);
  const WhatIfRun run = tried.run({{"keep_median", "0.9"}});
  CHECK(run.rolledBack > 0);
  CHECK(run.kept == 0);
  CHECK(run.changes == run.rolledBack);
  CHECK(run.changes < 6); // not again and again
  CHECK(run.stepNs > 1.02 * tried.run().stepNs);
}

TEST_CASE("what measured worse is undone in the recorded run, and not in the model's", "[recompile][what-if]") {
  Simulation simulation;
  simulation.host->truth = 3; // which no trace can know of plans that never ran
  simulation.run(1500, domain(32));
  const Tried tried(simulation);
  CHECK(tried.whatIf->recorded().rolledBack == simulation.loop->stats().rolledBack);
  CHECK(tried.whatIf->recorded().kept == 0);
  CHECK(tried.run().rolledBack == 0);
}

TEST_CASE("limits bind the plans that a try begins with and those that it makes", "[recompile][what-if]") {
  Simulation::Options options;
  options.layers = {3, 5};
  Simulation simulation(options);
  simulation.run(800, domain(32));
  const Tried tried(simulation);
  const WhatIfRun same = tried.run();
  for (const LayerSetup &layer : tried.setup({{"pack_budget_bytes", "0"}}).layers)
    CHECK(std::count(layer.live.table.packed.begin(), layer.live.table.packed.end(), 1) == 0);
  CHECK(tried.run({{"pack_budget_bytes", "0%"}}).stepNs > 1.02 * same.stepNs);
  CHECK(tried.run({{"pack_budget_bytes", "100%"}}).stepNs < same.stepNs);
  for (const LayerSetup &layer : tried.setup({{"max_tile_heights", "1"}}).layers) {
    CHECK(layer.generic.cpu.tileRows.size() == 1);
    CHECK(layer.live.config.cpu.tileRows.size() == 1);
  }
  // What is set to what it was changes nothing.
  const PlanLimits &limits = tried.trace->setup.layers[0].limits;
  checkSame(tried.run({{"max_tile_heights", std::to_string(limits.maxTileHeights)},
                       {"pack_budget_bytes", std::to_string(limits.packBudgetBytes)},
                       {"min_gain", "0.03"}}),
            same);
}

TEST_CASE("a changed setup says which key or value makes no sense", "[recompile][what-if]") {
  Simulation simulation;
  const PolicySetup &setup = simulation.setup;
  const auto says = [&](const char *key, const char *value) {
    Result<PolicySetup> changed = changedSetup(setup, {{key, value}});
    REQUIRE_FALSE(changed);
    CHECK(changed.status().code() == Code::InvalidArgument);
    return changed.status().message();
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(says("min_gian", "1"), Contains("min_gian is none of mode, min_gain") && Contains("slot_align"));
  CHECK_THAT(says("min_gain", "2"), Contains("policy: min_gain: expected a number from 0 to 1, found 2"));
  CHECK_THAT(says("min_gain", "much"), Contains("min_gain=much: expected a number"));
  CHECK_THAT(says("min_gain", "[1]"), Contains("expected a number"));
  CHECK_THAT(says("slot_align", "0"), Contains("limits: slot_align"));
  CHECK_THAT(says("slot_align", "1.5"), Contains("limits: slot_align"));
  CHECK_THAT(says("pack_budget_bytes", "101%"), Contains("0% to 100%"));
  CHECK_THAT(says("pack_budget_bytes", "x%"), Contains("expected a number"));
  CHECK_THAT(says("mode", "sometimes"), Contains("sometimes"));
  Result<PolicySetup> changed =
      changedSetup(setup, {{"min_gain", "0.5"}, {"min_gain", "0.25"}, {"mode", "strict"}, {"cool_down_ns", "5e8"}});
  REQUIRE(changed);
  CHECK(changed->config.minGain == 0.25); // the last one counts
  CHECK(changed->config.coolDownNs == 500'000'000);
  CHECK(changed->mode == LoopMode::Strict);
}

TEST_CASE("a trace with a gap is not tried", "[recompile][what-if]") {
  Simulation simulation;
  simulation.run(200, domain(32));
  Result<TraceFile> trace = parseTrace({{"trace", simulation.traceText()}});
  REQUIRE(trace);
  trace->gaps.push_back("lines 3 to 5 are missing");
  const Status status = WhatIf::of(*trace).status();
  CHECK(status.code() == Code::InvalidArgument);
  CHECK(status.message().find("lines 3 to 5") != std::string::npos);
}

TEST_CASE("a segment with other layers is left out", "[recompile][trace]") {
  Simulation::Options options;
  options.layers = {3, 5};
  Simulation both(options), one;
  both.run(200, domain(32));
  one.run(200, domain(32));
  Result<TraceFile> trace = parseTrace({{"run.1", both.traceText()}, {"run", one.traceText()}});
  REQUIRE(trace);
  REQUIRE(trace->problems.size() == 1);
  CHECK(trace->problems[0].find("run.1: left out, its layers are not those of run") != std::string::npos);
  CHECK(trace->setup.layers.size() == 1);
  CHECK(WhatIf::of(*trace).ok());
}
