// Other policies on recorded routing, held against what a simulated host did.
#include "runtime/trace/WhatIf.h"
#include "tests/unit/Catch.h"
#include "tests/unit/recompile/Simulation.h"

using namespace moec;
using namespace moec::test;

namespace {

TraceFile traceOf(const Simulation &simulation) {
  Result<TraceFile> trace = parseTrace({{"trace", simulation.traceText()}});
  REQUIRE(trace);
  return *trace;
}

WhatIfRun tried(const TraceFile &trace, const std::vector<std::pair<std::string, std::string>> &values) {
  Result<PolicySetup> setup = changedSetup(trace.setup, values);
  INFO(setup.status().message());
  REQUIRE(setup);
  Result<WhatIfRun> run = tryPolicy(trace, *setup);
  REQUIRE(run);
  return *run;
}

} // namespace

TEST_CASE("the recorded policy, tried, does what it did", "[recompile][what-if]") {
  Simulation simulation;
  simulation.run(800, domain(32));
  simulation.run(1200, domain(0));
  const TraceFile trace = traceOf(simulation);
  const Result<WhatIfRun> recorded = recordedRun(trace);
  REQUIRE(recorded);
  const RecompilerStats did = simulation.loop->stats();
  CHECK(recorded->changes == did.changes);
  CHECK(recorded->kept == did.kept);
  CHECK(recorded->rolledBack == did.rolledBack);
  CHECK(recorded->failedBuilds == 0);
  CHECK(recorded->buildNs == Approx(simulation.host->spentNs));
  uint64_t steps = 0;
  for (const CountsEvent &counts : simulation.all<CountsEvent>())
    steps += counts.window.steps;
  CHECK(recorded->steps == steps);
  // The machine's noise, and the last steps, which no window has.
  CHECK(recorded->stepNs == Approx(simulation.steppedNs).epsilon(0.03));

  const WhatIfRun same = tried(trace, {});
  CHECK(same.steps == recorded->steps);
  CHECK(same.changes == recorded->changes);
  CHECK(same.compiles == recorded->compiles);
  CHECK(same.kept == recorded->kept);
  CHECK(same.stepNs == Approx(recorded->stepNs).epsilon(0.02));
  CHECK(same.buildNs == Approx(recorded->buildNs).epsilon(0.2));
}

TEST_CASE("no change, and the best plan of each window, bound what a policy gains", "[recompile][what-if]") {
  Simulation simulation;
  simulation.run(800, domain(32));
  simulation.run(1200, domain(0));
  const TraceFile trace = traceOf(simulation);
  const WhatIfRun same = tried(trace, {}), off = tried(trace, {{"mode", "off"}}),
                  asked = tried(trace, {{"mode", "manual"}});
  const Result<WhatIfRun> best = clairvoyantRun(trace);
  REQUIRE(best);
  CHECK(off.changes == 0);
  CHECK(off.buildNs == 0);
  CHECK(asked.changes == 0); // nobody did
  CHECK(asked.stepNs == off.stepNs);
  CHECK(same.changes > 0);
  CHECK(same.stepNs < 0.97 * off.stepNs);
  CHECK(best->stepNs < same.stepNs);
  CHECK(best->steps == same.steps);
  CHECK(tried(trace, {{"min_gain", "1"}}).changes == 0);
  // What changes would cost decides: where they take minutes, the regret of these steps never pays for one.
  CHECK(tried(trace, {{"first_pack_ns_per_byte", "1e6"}}).changes == 0);
}

TEST_CASE("a request in the trace reaches the policy that is tried", "[recompile][what-if]") {
  Simulation::Options options;
  options.loop.mode = LoopMode::Manual;
  Simulation simulation(options);
  simulation.run(400, domain(32));
  CHECK(tried(traceOf(simulation), {}).changes == 0);
  simulation.loop->request();
  simulation.run(400, domain(32));
  const TraceFile trace = traceOf(simulation);
  CHECK(tried(trace, {}).changes == 1);
  CHECK(recordedRun(trace)->changes == 1);
}

TEST_CASE("what measured worse is undone in the recorded run, and not in the model's", "[recompile][what-if]") {
  Simulation simulation;
  simulation.host->truth = 3; // which no trace can know of plans that never ran
  simulation.run(1500, domain(32));
  const TraceFile trace = traceOf(simulation);
  CHECK(recordedRun(trace)->rolledBack == simulation.loop->stats().rolledBack);
  CHECK(recordedRun(trace)->kept == 0);
  CHECK(tried(trace, {}).rolledBack == 0);
}

TEST_CASE("limits bind the plans that a try begins with and those that it makes", "[recompile][what-if]") {
  Simulation simulation;
  simulation.run(800, domain(32));
  const TraceFile trace = traceOf(simulation);
  const WhatIfRun none = tried(trace, {{"pack_budget_bytes", "0"}}),
                  all = tried(trace, {{"pack_budget_bytes", "1000000000000"}});
  CHECK(none.stepNs > 1.02 * tried(trace, {}).stepNs);
  CHECK(all.stepNs < tried(trace, {}).stepNs);
  Result<PolicySetup> setup = changedSetup(trace.setup, {{"pack_budget_bytes", "0"}});
  REQUIRE(setup);
  for (const LayerSetup &layer : setup->layers)
    CHECK(std::count(layer.live.table.packed.begin(), layer.live.table.packed.end(), 1) == 0);
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
  CHECK_THAT(says("min_gain", "2"), Contains("min_gain: expected a number from 0 to 1, found 2"));
  CHECK_THAT(says("min_gain", "much"), Contains("min_gain=much: expected a number"));
  CHECK_THAT(says("min_gain", "[1]"), Contains("expected a number"));
  CHECK_THAT(says("slot_align", "0"), Contains("slot_align"));
  CHECK_THAT(says("mode", "sometimes"), Contains("sometimes"));
  Result<PolicySetup> changed = changedSetup(setup, {{"min_gain", "0.5"}, {"min_gain", "0.25"}, {"mode", "strict"}});
  REQUIRE(changed);
  CHECK(changed->config.minGain == 0.25); // the last one counts
  CHECK(changed->mode == LoopMode::Strict);
}

TEST_CASE("a trace with a gap is not tried", "[recompile][what-if]") {
  Simulation simulation;
  simulation.run(200, domain(32));
  TraceFile trace = traceOf(simulation);
  trace.gaps.push_back("lines 3 to 5 are missing");
  CHECK(recordedRun(trace).status().code() == Code::InvalidArgument);
  CHECK(tryPolicy(trace, trace.setup).status().code() == Code::InvalidArgument);
  CHECK(clairvoyantRun(trace).status().message().find("lines 3 to 5") != std::string::npos);
}
