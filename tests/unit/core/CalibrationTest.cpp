#include "compiler/core/Calibration.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/Fixtures.h"

#include <limits>

using namespace moec;
using namespace moec::test;

namespace {

std::string replaced(std::string text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

} // namespace

TEST_CASE("a calibration survives writing and reading to the last bit", "[core][calibration]") {
  Random random(21);
  for (int round = 0; round < 100; ++round) {
    Calibration calibration = noisyCalibration(random, facts(CpuIsa::Avx512Bf16), DType::BF16);
    calibration.copyNsPerByte = std::numeric_limits<double>::denorm_min();
    calibration.sectionNs = 1e12;
    calibration.measured = round % 2 == 0;
    Result<Calibration> read = Calibration::fromJson(calibration.toJson());
    REQUIRE(read.ok());
    CHECK(read->tileNsPerStep == calibration.tileNsPerStep);
    CHECK(read->streamNsPerByte == calibration.streamNsPerByte);
    CHECK(read->overlap == calibration.overlap);
    CHECK(read->packNsPerByte == calibration.packNsPerByte);
    CHECK(read->copyNsPerByte == calibration.copyNsPerByte);
    CHECK(read->sectionNs == calibration.sectionNs);
    CHECK(read->measured == calibration.measured);
  }
}

TEST_CASE("assumed figures cover the target's tiles, and taller ones cost less per row", "[core][calibration]") {
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16})
    for (DType compute : {DType::F32, DType::BF16}) {
      TargetFacts target = facts(isa);
      Calibration calibration = Calibration::assumed(target, compute);
      CAPTURE(isaName(isa), dtypeName(compute));
      for (uint32_t rows = 1; rows <= Calibration::maxRows; ++rows)
        CHECK((calibration.tileNsPerStep[rows] > 0) == (rows <= target.maxTileRows()));
      for (uint32_t rows = 2; rows <= target.maxTileRows(); ++rows) {
        CHECK(calibration.tileNsPerStep[rows] >= calibration.tileNsPerStep[rows - 1]);
        CHECK(calibration.tileNsPerStep[rows] / rows <= calibration.tileNsPerStep[rows - 1] / (rows - 1));
      }
      CHECK_FALSE(calibration.measured);
      CHECK(calibration.streamNsPerByte > 0);
      CHECK(calibration.overlap > 0);
      CHECK(calibration.overlap <= 1);
      CHECK(calibration.packNsPerByte > 0);
    }
}

TEST_CASE("bf16 dot products are assumed to be faster than their emulation", "[core][calibration]") {
  double native = Calibration::assumed(facts(CpuIsa::Avx512Bf16), DType::BF16).tileNsPerStep[12];
  double emulated = Calibration::assumed(facts(CpuIsa::Avx512), DType::BF16).tileNsPerStep[12];
  CHECK(native < emulated);
}

TEST_CASE("more threads read memory faster, up to what a socket has", "[core][calibration]") {
  auto stream = [](uint32_t threads) {
    return Calibration::assumed(facts(CpuIsa::Avx512, threads), DType::BF16).streamNsPerByte;
  };
  CHECK(stream(2) == stream(1) / 2);
  CHECK(stream(64) == stream(1000));
  CHECK(stream(0) == stream(1));
}

TEST_CASE("what is wrong with a calibration is named", "[core][calibration]") {
  const std::string good = Calibration::assumed(facts(CpuIsa::Avx2), DType::F32).toJson();
  REQUIRE(Calibration::fromJson(good).ok());
  auto errorOf = [](const std::string &text) {
    Result<Calibration> calibration = Calibration::fromJson(text);
    REQUIRE_FALSE(calibration.ok());
    CHECK(calibration.status().code() == Code::InvalidArgument);
    return calibration.status().message();
  };
  CHECK(errorOf("{") == "calibration: not valid JSON at offset 2");
  CHECK(errorOf(replaced(good, "\"section_ns\": 5000", "\"section_ns\": -1")) ==
        "calibration: section_ns: expected a number from 0 to 1000000000000, found -1");
  CHECK(errorOf(replaced(good, "\"overlap\": 0.5", "\"overlap\": 1.5")) ==
        "calibration: overlap: expected a number from 0 to 1, found 1.5");
  CHECK(errorOf(replaced(good, "[0, ", "[")) ==
        "calibration: tile_ns_per_step: expected 17 numbers, for 0 to 16 rows, found 16");
  CHECK(errorOf(replaced(good, "[0, ", "[0, null, ")) ==
        "calibration: tile_ns_per_step: expected 17 numbers, for 0 to 16 rows, found 18");
  CHECK(errorOf(replaced(good, "[0, ", "[\"0\", ")) ==
        "calibration: tile_ns_per_step[0]: expected a number from 0 to 1000000000000, found \"0\"");
  CHECK(errorOf(replaced(good, "\"measured\": false,", "")) == "calibration: measured: missing");
  CHECK(errorOf(replaced(good, "measured", "measure")) == "calibration: unknown key 'measure'");
}
