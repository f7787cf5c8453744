#include "compiler/core/PlacementSearch.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/Fixtures.h"

#include <fmt/format.h>

#include <cmath>

using namespace moec;
using namespace moec::test;

namespace {

std::string errorOf(const std::string &text) {
  Result<Placement> placement = Placement::fromJson(text);
  REQUIRE_FALSE(placement.ok());
  CHECK(placement.status().code() == Code::InvalidArgument);
  return placement.status().message();
}

std::string ofTwoDevices(const std::string &layers) {
  return R"({"schema": "moec.placement", "schema_version": 1, "devices": 2, "layers": [)" + layers + "]}";
}

std::string layerOf(const std::string &devices) {
  return ofTwoDevices(R"({"layer": 3, "experts": 4, "devices": )" + devices + "}");
}

/// Steps in which experts of one half of the layer are busy together, the two halves by turns. Neighbours by fours are
/// of one half, as greedy placement deals alike experts out.
std::vector<PlacedStep> byTurns(uint32_t experts, uint32_t steps) {
  std::vector<PlacedStep> made;
  for (uint32_t step = 0; step < steps; ++step) {
    Histogram histogram{64, std::vector<uint32_t>(experts, 1)};
    for (uint32_t expert = 0; expert < experts; ++expert)
      if (expert % 4 / 2 == step % 2)
        histogram.pairs[expert] = 20;
    made.push_back({std::move(histogram), 1});
  }
  return made;
}

std::vector<PlacedStep> randomSteps(uint64_t seed, uint32_t experts, uint32_t count, int skew) {
  Random random(seed);
  std::vector<PlacedStep> steps;
  for (uint32_t step = 0; step < count; ++step)
    steps.push_back({randomHistogram(random, experts, 32, 2, skew), 1.0 + random.below(3)});
  return steps;
}

/// The least cost of all placements without copies, by trying them all.
double leastCost(const PlacementProblem &problem, LayerPlacement &placement, uint32_t expert = 0) {
  if (expert == placement.numExperts)
    return sumDevices(placement, problem.steps, problem.cost).slowest;
  double least = 1e300;
  for (std::vector<uint32_t> &on : placement.on)
    if (on.size() < problem.slotsPerDevice) {
      on.push_back(expert);
      least = std::min(least, leastCost(problem, placement, expert + 1));
      on.pop_back();
    }
  return least;
}

void checkLegal(const LayerPlacement &placement, const PlacementProblem &problem, bool copies) {
  REQUIRE(placement.on.size() == problem.devices);
  for (const std::vector<uint32_t> &on : placement.on) {
    CHECK(on.size() <= problem.slotsPerDevice);
    CHECK(std::is_sorted(on.begin(), on.end()));
    CHECK(std::adjacent_find(on.begin(), on.end()) == on.end());
  }
  for (uint32_t count : placement.copies())
    CHECK((copies ? count >= 1 : count == 1));
}

} // namespace

TEST_CASE("a placement survives writing and reading", "[core][placement]") {
  const Placement placement{2, {{0, {3, {{0, 2}, {1, 2}}}}, {61, {2, {{1}, {0}}}}}};
  Result<Placement> read = Placement::fromJson(placement.toJson());
  REQUIRE(read.ok());
  CHECK(read->devices == 2);
  CHECK(read->layers == placement.layers);
  CHECK(read->toJson() == placement.toJson());
  CHECK(Placement::fromJson(Placement{4, {}}.toJson()).ok());
}

TEST_CASE("what is wrong with a placement is named", "[core][placement]") {
  CHECK(Placement::fromJson(layerOf("[[0, 1], [3, 2]]")).ok());
  CHECK(errorOf("{").starts_with("placement: not valid JSON"));
  CHECK(errorOf(layerOf("[[0, 1], [2]]")) == "placement: layers[0].devices: no device holds expert 3");
  CHECK(errorOf(layerOf("[[0, 1, 1], [2, 3]]")) == "placement: layers[0].devices[0]: expert 1 comes twice");
  CHECK(errorOf(layerOf("[[0, 1], [2], [3]]")) == "placement: layers[0].devices: expected 2 devices, found 3");
  CHECK(errorOf(layerOf("[[0, 1], [2, 3, 4]]")).starts_with("placement: layers[0].devices[1]"));
  CHECK(errorOf(layerOf("7")).starts_with("placement: layers[0].devices: expected"));
  CHECK(errorOf(ofTwoDevices(R"({"layer": 3, "experts": 0, "devices": [[], []]})"))
            .starts_with("placement: layers[0].experts: expected an integer from 1"));
  CHECK(errorOf(ofTwoDevices(R"({"layer": 3, "experts": 1, "devices": [[0], []]},
                                {"layer": 3, "experts": 1, "devices": [[0], []]})")) ==
        "placement: layers[1].layer: layer 3 comes twice");
}

TEST_CASE("devices share the pairs of a copied expert evenly, and lose none", "[core][placement]") {
  const LayerPlacement placement{3, {{0, 2}, {1, 2}, {2}}};
  const Histogram step{16, {5, 6, 8}};
  // Expert 2 has three copies; its 8 pairs are 3, 3 and 2, and the larger parts begin with its device 2 modulo 3.
  CHECK(placement.onDevices(step)[0] == Histogram{16, {5, 3}});
  CHECK(placement.onDevices(step)[1] == Histogram{16, {6, 2}});
  CHECK(placement.onDevices(step)[2] == Histogram{16, {3}});
  CHECK(placement.imbalance(step) == Approx(8 / (19.0 / 3)));
  CHECK(LayerPlacement{2, {{0}, {1}}}.imbalance({1, {UINT32_MAX, UINT32_MAX}}) == Approx(1));
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    PlacementProblem problem{randomSteps(round, 12, 4, 2), RowCost::ofPairs(), 4, 5, true};
    const LayerPlacement found = searchPlacement(problem).front().placement;
    const Histogram &routing = problem.steps.front().routing;
    uint64_t sum = 0;
    for (uint32_t device = 0; device < 4; ++device)
      sum += found.onDevices(routing)[device].total();
    CHECK(sum == routing.total());
  }
}

TEST_CASE("steps that come by turns are thinned alike", "[core][placement]") {
  std::vector<PlacedStep> steps;
  for (uint32_t index = 0; index < 800; ++index)
    steps.push_back({Histogram{index % 2 + 1, {1}}, 1.0 + index % 3});
  const std::vector<PlacedStep> some = thinned(steps, 100);
  REQUIRE(some.size() == 100);
  double weights[2] = {0, 0};
  for (const PlacedStep &step : some)
    weights[step.routing.tokens - 1] += step.weight;
  CHECK(weights[0] + weights[1] == Approx(1599));
  CHECK(weights[0] > 500);
  CHECK(weights[1] > 500);
  CHECK(thinned(steps, 800).size() == 800);
}

TEST_CASE("experts by number fill the first devices", "[core][placement]") {
  CHECK(placementByNumber(7, 3).on == std::vector<std::vector<uint32_t>>{{0, 1, 2}, {3, 4}, {5, 6}});
}

TEST_CASE("a row's cost is the planner's, between its points and beyond", "[core][placement]") {
  const RowCost pairs = RowCost::ofPairs();
  CHECK(pairs.at(0) == 0);
  CHECK(pairs.at(0.5) == 0.5);
  CHECK(pairs.at(700) == 700);
  CHECK(pairs.withRow(2).at(10) == 30);
  const TargetFacts target = facts(CpuIsa::Avx512);
  const LayerShape shape = midShape(32);
  const Calibration calibration = Calibration::assumed(target, computeDType(shape));
  const RowCost cost = RowCost::planned(shape, 8, 200, target, calibration, {});
  CHECK(cost.at(0) == 0);
  double before = 0;
  for (double rows : {0.25, 1.0, 1.5, 2.0, 7.0, 64.0, 150.0, 200.0, 400.0}) {
    CHECK(cost.at(rows) >= before);
    before = cost.at(rows);
  }
  CHECK(cost.at(1) > cost.at(2) - cost.at(1)); // weights are read once, whatever the rows
  // Eight experts of as many rows: what the planner says of them together, less what as many tokens take without them.
  const LayerShape local = shapeOnDevice(shape, 8);
  const auto planned = [&](uint32_t rows) {
    return planLayer(local, {64 * 8, std::vector<uint32_t>(8, rows)}, target, calibration, {}).predictedNs;
  };
  CHECK(8 * cost.at(64) == Approx(planned(64) - planned(0)).epsilon(1e-9));
}

TEST_CASE("experts that are busy together go apart, which mean loads do not tell", "[core][placement]") {
  PlacementProblem problem{byTurns(16, 8), RowCost::ofPairs(), 4, 4};
  const PlacementSearch found = searchPlacement(problem).front();
  checkLegal(found.placement, problem, false);
  // Two of each half on every device: 2 * 20 + 2 * 1.
  CHECK(found.cost == Approx(42));
  CHECK(sumDevices(greedyPlacement(problem, false), problem.steps, problem.cost).slowest == Approx(80));
}

TEST_CASE("without copies the search finds nearly the best of all placements", "[core][placement]") {
  double over = 0, worst = 1;
  constexpr int problems = 40;
  for (int seed = 0; seed < problems; ++seed) {
    const uint32_t devices = seed % 2 ? 2 : 4;
    PlacementProblem problem{randomSteps(seed, 8, 6, 1 + seed % 2), RowCost::ofPairs(), devices, 8 / devices};
    const PlacementSearch found = searchPlacement(problem).front();
    checkLegal(found.placement, problem, false);
    CHECK(found.cost == Approx(sumDevices(found.placement, problem.steps, problem.cost).slowest));
    LayerPlacement none{8, std::vector<std::vector<uint32_t>>(devices)};
    const double least = leastCost(problem, none);
    CHECK(found.cost >= least * (1 - 1e-9));
    over += found.cost / least;
    worst = std::max(worst, found.cost / least);
  }
  CHECK(over / problems < 1.005);
  CHECK(worst < 1.05);
}

TEST_CASE("a descent is no worse than what it starts from", "[core][placement]") {
  for (int seed = 0; seed < 10; ++seed) {
    PlacementProblem problem{randomSteps(100 + seed, 24, 8, 2), RowCost::ofPairs(), 6, seed % 2 ? 4u : 5u,
                             seed % 2 == 0};
    const auto costOf = [&](const LayerPlacement &placement) {
      return sumDevices(placement, problem.steps, problem.cost).slowest;
    };
    for (const LayerPlacement &start : {greedyPlacement(problem, false), placementByNumber(24, 6)}) {
      const PlacementSearch found = improvedPlacement(problem, start, false);
      checkLegal(found.placement, problem, false);
      CHECK(found.cost == Approx(costOf(found.placement)));
      CHECK(found.cost < costOf(start)); // none of these starts is a local optimum
    }
    const std::vector<PlacementSearch> found = searchPlacement(problem);
    for (const PlacementSearch &each : found) {
      checkLegal(each.placement, problem, problem.copies);
      CHECK(each.cost == Approx(costOf(each.placement)));
    }
    for (bool copies : {false, true})
      CHECK(found.front().cost <= costOf(greedyPlacement(problem, copies)));
    CHECK(searchPlacement(problem).front().placement == found.front().placement);
  }
}

TEST_CASE("copies halve an expert that nothing else can relieve", "[core][placement]") {
  PlacementProblem problem{{{Histogram{100, {100, 10, 10, 10}}, 1}}, RowCost::ofPairs(), 2, 3, true};
  const PlacementSearch found = searchPlacement(problem).front();
  CHECK(found.placement.copies()[0] == 2);
  CHECK(found.cost == Approx(65)); // half of all: 50 and 15 on each
  PlacementProblem without = problem;
  without.copies = false;
  CHECK(searchPlacement(without).front().cost == Approx(100)); // the others fit beside each other
  without.slotsPerDevice = 2;
  CHECK(searchPlacement(without).front().cost == Approx(110));
}

TEST_CASE("slots to spare cost nothing, and what needs no copies gets none", "[core][placement]") {
  const TargetFacts target = facts(CpuIsa::Avx512);
  const LayerShape shape = midShape(16);
  const Calibration calibration = Calibration::assumed(target, computeDType(shape));
  const RowCost cost = RowCost::planned(shape, 4, 32, target, calibration, {});
  for (int seed = 0; seed < 20; ++seed) {
    const std::vector<PlacedStep> steps = randomSteps(200 + seed, 16, 6, 1);
    const double tight = searchPlacement({steps, cost, 4, 4, false}).front().cost;
    CHECK(searchPlacement({steps, cost, 4, 6, true}).front().cost <= tight * (1 + 1e-9));
  }
  // Devices that do not divide the experts have room for copies in as many slots as are needed anyway.
  const PlacedStep uneven{Histogram{30, {9, 13, 4, 4, 8, 17, 23}}, 1};
  CHECK(searchPlacement({{uneven}, RowCost::ofPairs(), 3, 3, true}).front().cost <=
        searchPlacement({{uneven}, RowCost::ofPairs(), 3, 3, false}).front().cost);
  for (const uint32_t pairs : {0u, 1u, 10u}) {
    const Histogram even{10, std::vector<uint32_t>(16, pairs)};
    for (uint32_t count : searchPlacement({{{even, 1}}, RowCost::ofPairs(), 8, 8, true}).front().placement.copies())
      CHECK(count == 1);
  }
}

TEST_CASE("no copy is left that steps do not gain by", "[core][placement]") {
  for (int seed = 0; seed < 30; ++seed) {
    const PlacementProblem problem{randomSteps(300 + seed, 10, 4, 2), RowCost::ofPairs(), 5, 4, true};
    const PlacementSearch found = searchPlacement(problem).front();
    const std::vector<uint32_t> copies = found.placement.copies();
    for (size_t device = 0; device < 5; ++device)
      for (uint32_t expert : found.placement.on[device]) {
        LayerPlacement without = found.placement;
        std::erase(without.on[device], expert);
        if (copies[expert] > 1)
          CHECK(sumDevices(without, problem.steps, problem.cost).slowest > found.cost);
      }
  }
}

TEST_CASE("what does not divide goes to other devices for other experts", "[core][placement]") {
  LayerPlacement everywhere{8, std::vector<std::vector<uint32_t>>(4, {0, 1, 2, 3, 4, 5, 6, 7})};
  const Histogram step{8, std::vector<uint32_t>(8, 1)};
  for (uint32_t device = 0; device < 4; ++device)
    CHECK(everywhere.onDevices(step)[device].total() == 2);
}

TEST_CASE("a cost without end ends the search", "[core][placement]") {
  PlacementProblem problem{randomSteps(4, 12, 4, 2), RowCost::ofPairs().withRow(HUGE_VAL), 4, 4, true};
  checkLegal(searchPlacement(problem).front().placement, problem, true);
}

TEST_CASE("a copy that costs more than it relieves is not made", "[core][placement]") {
  // One row costs nearly what eight do: weights decide, and two experts beside each other are the slowest device.
  const TargetFacts target = facts(CpuIsa::Avx512);
  const LayerShape shape = midShape(3);
  const Calibration calibration = Calibration::assumed(target, computeDType(shape));
  PlacementProblem problem{
      {{Histogram{8, {8, 2, 2}}, 1}}, RowCost::planned(shape, 3, 8, target, calibration, {}), 2, 3, true};
  for (uint32_t count : searchPlacement(problem).front().placement.copies())
    CHECK(count == 1);
  problem.cost = RowCost::ofPairs();
  CHECK(searchPlacement(problem).front().placement.copies()[0] == 2);
}

TEST_CASE("the planner's time of devices is that of the slowest one in each step", "[core][placement]") {
  const TargetFacts target = facts(CpuIsa::Avx512);
  const LayerShape shape = midShape(4);
  const Calibration calibration = Calibration::assumed(target, computeDType(shape));
  const std::vector<PlacedStep> steps = {{Histogram{64, {64, 1, 1, 1}}, 1}, {Histogram{64, {1, 1, 1, 64}}, 3}};
  const LayerPlacement placement = placementByNumber(4, 2);
  const PlacementPrediction found = predictDevices(placement, steps, shape, target, calibration, {}, 0);
  const auto ns = [&](std::vector<uint32_t> pairs) {
    return planLayer(shapeOnDevice(shape, 2), {64, std::move(pairs)}, target, calibration, {}).predictedNs;
  };
  CHECK(found.slowest == Approx(0.25 * ns({64, 1}) + 0.75 * ns({1, 64})));
  CHECK(found.mean == Approx((0.25 * (ns({64, 1}) + ns({1, 1})) + 0.75 * (ns({1, 1}) + ns({1, 64}))) / 2));
  CHECK(predictDevices(placement, steps, shape, target, calibration, {}, 10).slowest == Approx(found.slowest + 650));
}
