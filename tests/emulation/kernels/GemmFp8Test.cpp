#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/kernels/GemmFp8Fixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

template <GemmConfig C> void check(const GemmCase &test, uint32_t schedules, uint32_t blocks) {
  INFO(test.name);
  const Fp8Problem problem = makeFp8Problem(test, C.role);
  forSchedules(schedules, [&](uint64_t seed) { return runFp8<C>(problem, seed, blocks); });
}

template <GemmConfig C> void check() {
  for (const GemmCase &test : fp8Cases())
    check<C>(test, kSchedules, 3);
}

template <GemmConfig C> std::vector<uint16_t> bitsOf(const GemmCase &test) {
  std::vector<uint16_t> bits;
  REQUIRE(runFp8<C>(makeFp8Problem(test, C.role), 1, 3, &bits).empty());
  return bits;
}

/// Against the rows of a tile that rounds them, quantised on the host.
template <GemmConfig Quantising, GemmConfig Rounding>
void checkQuantising(const GemmCase &test, uint32_t schedules, uint32_t blocks) {
  INFO(test.name);
  const Fp8Problem problem = makeFp8Problem(test, GemmRole::GateUp);
  std::vector<uint16_t> rounded;
  REQUIRE(runFp8<Rounding>(problem, 1, blocks, &rounded).empty());
  const bench::Fp8Rows expected = bench::quantiseRows(rounded, test.n, true);
  forSchedules(schedules, [&](uint64_t seed) { return runQuantising<Quantising>(problem, expected, seed, blocks); });
}

} // namespace

TEST_CASE("the e4m3 gate-up product multiplies as the reference does, whatever the schedule",
          "[emulation][gemm][fp8]") {
  check<fp8Config(GemmRole::GateUp, 16, 64, 256, 3, 1, 2)>();
  check<fp8Config(GemmRole::GateUp, 32, 128, 128, 3, 2, 1)>(); // a group without any column
}

TEST_CASE("the e4m3 down product multiplies as the reference does, whatever the schedule", "[emulation][gemm][fp8]") {
  check<fp8Config(GemmRole::Down, 16, 64, 256, 3, 1, 2)>();
  check<fp8Config(GemmRole::Down, 16, 256, 128, 3, 2, 1)>(); // outputs in four panels of one stage
  check<fp8Config(GemmRole::Down, 64, 256, 128, 4, 2, 1)>(); // weights under two scales; outputs in two stages
}

TEST_CASE("e4m3 products that quantise their rows multiply as the reference does, whatever the schedule",
          "[emulation][gemm][fp8]") {
  constexpr GemmConfig gateUp = quantising(fp8Config(GemmRole::GateUp, 16, 64, 256, 5, 1, 2)),
                       down = quantising(fp8Config(GemmRole::Down, 16, 64, 256, 5, 1, 2));
  check<gateUp>();
  check<down>();
  check<quantising(fp8Config(GemmRole::Down, 16, 64, 512, 5, 1, 1))>(); // a lane has two blocks of a row
  // Five steps a tile, several tiles a block: a warp's turns lie as far apart as the ring is long.
  const GemmCase test{"turns", 4, 1168, 200, 4, 2, GemmCase::Drawn, true, false};
  check<gateUp>(test, kSchedules, 2);
  check<down>(test, kSchedules, 2);
}

TEST_CASE("an e4m3 product that quantises its rows gives the bits of one that does not", "[emulation][gemm][fp8]") {
  constexpr GemmConfig gateUp = fp8Config(GemmRole::GateUp, 16, 64, 256, 5, 1, 2),
                       down = fp8Config(GemmRole::Down, 16, 64, 256, 5, 1, 2);
  for (const GemmCase &test : fp8Cases()) {
    INFO(test.name);
    CHECK(bitsOf<quantising(gateUp)>(test) == bitsOf<gateUp>(test));
    CHECK(bitsOf<quantising(down)>(test) == bitsOf<down>(test));
  }
}

TEST_CASE("e4m3 products with token rows on the 64-row side multiply as the reference does", "[emulation][gemm][fp8]") {
  check<inRows(fp8Config(GemmRole::GateUp, 128, 128, 256, 3, 2, 1))>(); // a block of 64 rows for each warpgroup
  check<inRows(fp8Config(GemmRole::Down, 256, 128, 128, 4, 2, 1))>();   // two, or one, or none
  check<inRows(fp8Config(GemmRole::Down, 128, 256, 128, 4, 2, 1))>();   // one, against two times 128 weight rows
}

TEST_CASE("gate-up in wide e4m3 tiles in rows gives what quantise makes of the rounded rows",
          "[emulation][gemm][fp8]") {
  constexpr GemmConfig rounding = inRows(fp8Config(GemmRole::GateUp, 128, 128, 128, 3, 2, 1)),
                       quantising = inRows(fp8Config(GemmRole::GateUp, 128, 256, 128, 3, 2, 1));
  for (GemmCase test : fp8Cases()) {
    test.n = (test.n + 15) / 16 * 16; // rows of bytes, whose maps count in sixteens
    checkQuantising<quantising, rounding>(test, kSchedules, 3);
  }
  checkQuantising<quantising, rounding>({"a wide tile", 125, 272, 400, 4, 1, GemmCase::OneExpert, true, false}, 10, 2);
}

TEST_CASE("gate-up in narrow e4m3 tiles gives what quantise makes of the rounded rows", "[emulation][gemm][fp8]") {
  constexpr GemmConfig rounding = fp8Config(GemmRole::GateUp, 16, 64, 256, 3, 1, 2);
  for (GemmCase test : fp8Cases()) {
    test.n = (test.n + 15) / 16 * 16; // rows of bytes, whose maps count in sixteens
    checkQuantising<fp8Config(GemmRole::GateUp, 16, 256, 128, 3, 2, 1), rounding>(test, kSchedules, 3);
  }
  // Tiles without the second warpgroup's columns; two turns at the rows; panels that fill the held stage.
  const GemmCase test{"some of a tile's columns", 125, 272, 176, 4, 1, GemmCase::OneExpert, true, false};
  checkQuantising<fp8Config(GemmRole::GateUp, 16, 256, 256, 3, 2, 1), rounding>(test, 10, 2);
  checkQuantising<fp8Config(GemmRole::GateUp, 32, 256, 128, 3, 2, 1), rounding>(test, 10, 2);
  checkQuantising<fp8Config(GemmRole::GateUp, 128, 256, 128, 3, 2, 1), rounding>(test, 10, 2);
}

TEST_CASE("an expert with more token tiles than go together gets each of them once in e4m3", "[emulation][gemm][fp8]") {
  // 285 rows: 18 tiles of 16 rows in two parts of nine.
  const GemmCase test{"many rows for one expert", 285, 80, 144, 4, 1, GemmCase::OneExpert, true, false};
  check<fp8Config(GemmRole::GateUp, 16, 64, 256, 3, 1, 2)>(test, 10, 3);
  check<fp8Config(GemmRole::Down, 16, 64, 256, 3, 1, 2)>(test, 10, 3);
}

TEST_CASE("e4m3 tiles of both kinds each run once, by blocks that begin with either", "[emulation][gemm][fp8]") {
  const GemmCase test = hotBesideCold();
  check<fp8Config(GemmRole::GateUp, 16, 64, 256, 3, 1, 2)>(test, 10, 4);
  check<fp8Config(GemmRole::Down, 16, 64, 256, 3, 1, 2)>(test, 10, 4);
}

TEST_CASE("the widest e4m3 tile multiplies as the reference does", "[emulation][gemm][fp8]") {
  // 125 rows: one tile of eight sixteens, or two blocks of 64 rows.
  const GemmCase test{"a wide tile", 125, 272, 200, 4, 1, GemmCase::OneExpert, true, false};
  check<fp8Config(GemmRole::Down, 128, 256, 128, 4, 2, 1)>(test, 10, 2);
  check<inRows(fp8Config(GemmRole::GateUp, 256, 128, 128, 4, 2, 1))>(test, 10, 2);
}
