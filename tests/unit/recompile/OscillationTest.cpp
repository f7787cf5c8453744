// The ski-rental bound against an optimum that knows the future.
#include "tests/unit/recompile/Simulation.h"

#include "tests/unit/Catch.h"

using namespace moec;
using namespace moec::test;

namespace {

struct Stretch {
  std::vector<double> shares;
  uint32_t steps;
};

/// Cheapest schedule over the phases, by dynamic programming over which plan is live: what a
/// clairvoyant would pay in steps and changes. Its changes cost what ours do when every kernel
/// exists, so it is not handicapped.
double clairvoyantNs(const Simulation &simulation, const std::vector<Stretch> &phases, double changeNs) {
  const SimulatedHost &host = *simulation.host;
  std::mt19937_64 random(99);
  std::vector<std::vector<Histogram>> drawn; // steps of each phase
  std::vector<LayerPlan> plans = {host.generations.at(0).at(0)};
  for (const Stretch &phase : phases) {
    std::vector<uint64_t> sums(64, 0);
    drawn.emplace_back();
    for (int step = 0; step < 100; ++step) {
      drawn.back().push_back(draw(phase.shares, simulation.options.tokens, 8, random));
      for (size_t expert = 0; expert < 64; ++expert)
        sums[expert] += drawn.back().back().pairs[expert];
    }
    Histogram typical = typicalStep(100ull * simulation.options.tokens, sums, 100);
    if (plans.size() < 3) // a wave has two phases, which return
      plans.push_back(planLayer(host.shape, typical, host.machine, host.model, simulation.options.limits));
  }
  std::vector<double> best(plans.size(), 1e30);
  best[0] = 0;
  for (size_t phase = 0; phase < phases.size(); ++phase) {
    double cheapest = *std::min_element(best.begin(), best.end());
    for (size_t plan = 0; plan < plans.size(); ++plan) {
      double ns = 0;
      for (const Histogram &step : drawn[phase])
        ns += predictLayer(host.shape, plans[plan], host.genericConfig(0), step, host.machine, host.model);
      best[plan] = std::min(best[plan], cheapest + changeNs) +
                   phases[phase].steps * ns / static_cast<double>(drawn[phase].size());
    }
  }
  return *std::min_element(best.begin(), best.end());
}

/// Step time of the best plan for each phase, with changes for free: what no schedule can beat.
double floorNs(const Simulation &simulation, const std::vector<Stretch> &phases) {
  return clairvoyantNs(simulation, phases, 0);
}

std::vector<Stretch> squareWave(uint32_t phases, uint32_t steps) {
  std::vector<Stretch> wave;
  for (uint32_t phase = 0; phase < phases; ++phase)
    wave.push_back({domain(phase % 2 * 32), steps});
  return wave;
}

} // namespace

TEST_CASE("on a square wave changes are bounded and cost at most twice the clairvoyant optimum",
          "[recompile][oscillation]") {
  // From far faster than a change repays to far slower.
  uint32_t halfPeriod = GENERATE(16u, 64u, 100u, 200u, 800u, 2000u);
  uint32_t phases = std::max(4u, 8000 / halfPeriod);
  Simulation::Options options;
  options.loop.policy.coolDownNs = 0;
  options.loop.policy.changesPerMinute = 1000; // the rate limit must not be what bounds them
  Simulation simulation(options);
  std::vector<Stretch> wave = squareWave(phases, halfPeriod);
  for (const Stretch &phase : wave)
    simulation.run(phase.steps, phase.shares);

  double spent = simulation.steppedNs + simulation.host->spentNs;
  // The optimum pays for packing, loading and validating, not for kernels: those are the loop's
  // own first cost. At least what a change costs that packs nothing.
  double kernelsNs = simulation.host->kernelsBuilt ? simulation.host->compileMs * 1e6 : 0;
  double changeNs = simulation.host->builds ? (simulation.host->spentNs - kernelsNs) / simulation.host->builds : 0;
  changeNs = std::max(changeNs, 5e6);
  double optimum = clairvoyantNs(simulation, wave, changeNs);
  double floor = floorNs(simulation, wave);
  INFO("half period " << halfPeriod << ": spent " << spent / 1e9 << " s, optimum " << optimum / 1e9 << " s, floor "
                      << floor / 1e9 << " s, builds " << simulation.host->builds);
  CHECK(spent <= 2 * optimum);
  // The bound that matters: what is paid beyond the unavoidable step time, against the excess of an
  // optimum whose changes carry the same risk, as in the two-state task system (3). Staying on the
  // first plan is wrong in every other phase.
  double stay = clairvoyantNs(simulation, wave, 1e30);
  double wrongStepNs = 2 * (stay - floor) / (phases * double(halfPeriod));
  double riskNs = simulation.options.loop.policy.noticeSteps * wrongStepNs;
  double bound = clairvoyantNs(simulation, wave, changeNs + riskNs);
  INFO("with the risk: " << bound / 1e9 << " s, staying: " << stay / 1e9 << " s");
  CHECK(spent - floor <= 3 * (bound - floor) + 0.02 * floor);
  CHECK(simulation.host->builds <= phases + 2);
  if (halfPeriod <= 16)
    CHECK(simulation.host->builds <= 4); // swinging faster than it repays: settle on one plan and stay
}
