#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmFitted.cuh"
#include "tests/emulation/kernels/GemmFittedFixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr uint32_t kFewSchedules = 10; // where the order of accesses is not what is tested

template <GemmConfig C> void check(const GemmCase &test, uint32_t schedules, uint32_t blocks) {
  INFO(test.name);
  const GemmProblem problem = makeProblem(test, C);
  forSchedules(schedules, [&](uint64_t seed) { return runFitted<C>(problem, seed, blocks); });
}

template <GemmConfig C> void check() {
  for (GemmCase test : C.biased ? biasedCases() : gemmCases()) {
    test.fused = true; // as two tensors, up would have to lie behind gate, which allocations do not promise
    check<C>(test, kSchedules, 3);
  }
}

} // namespace

TEST_CASE("the fitted gate-up product multiplies as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<fittedConfig(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2)>();
  check<fittedConfig(Element::F16, GemmRole::GateUp, 32, 128, 64, 3, 2,
                     1)>(); // trades registers, panels leave by boxes
}

TEST_CASE("fitted products in clusters multiply as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<inPairs(fittedConfig(Element::BF16, GemmRole::GateUp, 32, 128, 64, 3, 2, 1))>(); // rows fetched one by one
  check<inPairs(fittedConfig(Element::F16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2))>();
  check<inPairs(fittedConfig(Element::BF16, GemmRole::GateUp, 96, 128, 64, 3, 2, 1))>();
  check<inPairs(fittedConfig(Element::BF16, GemmRole::Down, 96, 256, 64, 4, 2, 1))>(); // boxes in turn
}

TEST_CASE("fitted tiles of fewer weights than wgmma takes multiply as the reference does", "[emulation][gemm]") {
  check<fittedConfig(Element::BF16, GemmRole::GateUp, 16, 32, 128, 3, 1, 1)>(); // tokens lie just behind its weights
  check<fittedConfig(Element::F16, GemmRole::Down, 16, 32, 256, 3, 1, 1)>();
  check<withBiases(withWeights(fittedConfig(Element::BF16, GemmRole::GateUp, 16, 32, 256, 3, 1, 1)))>();
  check<withBiases(fittedConfig(Element::BF16, GemmRole::Down, 16, 32, 128, 3, 1, 1))>();
}

TEST_CASE("rows fetched and rows copied give the same bits", "[emulation][gemm]") {
  constexpr GemmConfig wide = fittedConfig(Element::BF16, GemmRole::GateUp, 96, 128, 64, 3, 2, 1),
                       narrow = fittedConfig(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2),
                       few = fittedConfig(Element::BF16, GemmRole::GateUp, 16, 32, 256, 3, 1, 1);
  for (GemmCase test : gemmCases()) {
    INFO(test.name);
    test.fused = true;
    const GemmProblem problem = makeProblem(test, GemmRole::GateUp, Element::BF16);
    std::vector<uint16_t> bits[4];
    REQUIRE(runFitted<wide>(problem, 1, 3, &bits[0]) == "");
    REQUIRE(runFitted<narrow>(problem, 1, 3, &bits[1]) == "");
    REQUIRE(runFitted<inPairs(wide)>(problem, 1, 4, &bits[2]) == "");
    REQUIRE(runFitted<few>(problem, 1, 3, &bits[3]) == "");
    CHECK(bits[0] == bits[3]);
    CHECK(bits[0] == bits[1]);
    CHECK(bits[0] == bits[2]);
  }
}

TEST_CASE("the fitted down product multiplies as the reference does, whatever the schedule", "[emulation][gemm]") {
  check<fittedConfig(Element::BF16, GemmRole::Down, 16, 64, 128, 3, 1, 2)>();
  check<fittedConfig(Element::F16, GemmRole::Down, 96, 256, 64, 4, 2,
                     1)>(); // outputs in two stages; a group without weights
}

TEST_CASE("an expert with more token tiles than go together gets each of them once", "[emulation][gemm]") {
  // 137 rows: nine tiles of 16 rows in parts of five and four, each with five (gate-up) or three (down) tiles of
  // weights.
  const GemmCase test{"many rows for one expert", 137, 64, 136, 4, 1, GemmCase::OneExpert, true, false};
  check<fittedConfig(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2)>(test, kFewSchedules, 3);
  check<fittedConfig(Element::BF16, GemmRole::Down, 16, 64, 128, 3, 1, 2)>(test, kFewSchedules, 3);
  check<inPairs(fittedConfig(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2))>(test, kFewSchedules, 4);
  check<inPairs(fittedConfig(Element::BF16, GemmRole::Down, 16, 64, 128, 3, 1, 2))>(test, kFewSchedules, 4);
}

TEST_CASE("fitted tiles of both kinds each run once, by blocks and by clusters that begin with either",
          "[emulation][gemm]") {
  constexpr GemmConfig gateUp = fittedConfig(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2),
                       down = fittedConfig(Element::BF16, GemmRole::Down, 16, 64, 128, 3, 1, 2);
  const GemmCase test = hotBesideCold();
  const TileHead head = tilesOf(makeProblem(test, GemmRole::Down, Element::BF16), 16).head;
  const tile::WorkKinds kinds = tile::WorkKinds::of(head, 2, 4);
  REQUIRE((kinds.several.given > 0 && kinds.single.given > 0));
  check<gateUp>(test, kFewSchedules, 4);
  check<down>(test, kFewSchedules, 4);
  check<inPairs(gateUp)>(test, kFewSchedules, 8);
  check<inPairs(down)>(test, kFewSchedules, 8);
}

TEST_CASE("the widest fitted tile multiplies as the reference does", "[emulation][gemm]") {
  // 185 rows: one tile of twelve sixteens, and the planner's widest, whose outputs fill one (gate-up) or two (down)
  // stages.
  const GemmCase test{"a wide tile", 185, 136, 200, 4, 1, GemmCase::OneExpert, true, false};
  check<fittedConfig(Element::BF16, GemmRole::GateUp, 192, 256, 64, 4, 2, 1)>(test, kFewSchedules, 2);
  check<fittedConfig(Element::F16, GemmRole::Down, 192, 256, 64, 4, 2, 1)>(test, kFewSchedules, 2);
  check<inPairs(fittedConfig(Element::BF16, GemmRole::GateUp, 192, 256, 64, 4, 2, 1))>(test, kFewSchedules, 2);
  check<inPairs(fittedConfig(Element::F16, GemmRole::Down, 192, 256, 64, 4, 2, 1))>(test, kFewSchedules, 2);
}

TEST_CASE("the fitted GEMMs add biases before anything else", "[emulation][gemm]") {
  check<withBiases(fittedConfig(Element::BF16, GemmRole::GateUp, 32, 256, 64, 3, 2, 1))>(); // two blocks of weight rows
                                                                                            // each
  check<inPairs(withBiases(fittedConfig(Element::BF16, GemmRole::GateUp, 32, 256, 64, 3, 2, 1)))>();
  check<withBiases(fittedConfig(Element::F16, GemmRole::Down, 32, 256, 64, 4, 2, 1))>();
}

TEST_CASE("the fitted gate-up product weighs its rows before anything else", "[emulation][gemm]") {
  check<withWeights(fittedConfig(Element::BF16, GemmRole::GateUp, 16, 64, 128, 3, 1, 2))>();
  check<withWeights(withBiases(
      fittedConfig(Element::F16, GemmRole::GateUp, 96, 256, 64, 3, 2, 1)))>(); // two blocks of weight rows each
  check<withWeights(inPairs(fittedConfig(Element::BF16, GemmRole::GateUp, 96, 128, 64, 3, 2, 1)))>();
}
