// The small value types of core: status, dtypes, histograms, configs, target names.
#include "compiler/core/Calibration.h"
#include "compiler/core/Config.h"
#include "compiler/core/Histogram.h"
#include "compiler/core/TargetFacts.h"
#include "tests/unit/Catch.h"

#include <array>
#include <memory>
#include <set>

using namespace moec;

TEST_CASE("a status gains context on its way up, a success does not", "[core][status]") {
  Status status = makeError(Code::InvalidModel, "no router");
  status = status.withContext("layer {}", 3).withContext("model");
  CHECK(status.message() == "model: layer 3: no router");
  CHECK(status.code() == Code::InvalidModel);
  CHECK(Status().withContext("layer").ok());
  CHECK(Status().withContext("layer").message().empty());
}

TEST_CASE("a result holds a value or an error, and moves its value out", "[core][status]") {
  Result<std::unique_ptr<int>> value = std::make_unique<int>(5);
  REQUIRE(value);
  std::unique_ptr<int> taken = std::move(*value);
  CHECK(*taken == 5);
  Result<int> error = makeError(Code::NotFound, "nothing");
  CHECK_FALSE(error);
  CHECK(error.status().code() == Code::NotFound);
}

TEST_CASE("every code has a name of its own and a documented exit code", "[core][status]") {
  std::set<std::string> names;
  for (int code = 0; code <= static_cast<int>(Code::DeviceLost); ++code) {
    CHECK(names.insert(codeName(static_cast<Code>(code))).second);
    int exit = exitCode(static_cast<Code>(code));
    CHECK((exit == 0) == (code == 0));
    CHECK((exit >= 0 && exit <= 9));
  }
  CHECK(names.count("unknown") == 0);
  CHECK(exitCode(Code::CompileForbidden) == 9);
  CHECK(exitCode(Code::CacheCorrupt) == 6);
}

TEST_CASE("a dtype's name reads back as the dtype", "[core][shape]") {
  for (DType dtype : {DType::F32, DType::BF16, DType::F16}) {
    Result<DType> read = parseDType(dtypeName(dtype));
    REQUIRE(read.ok());
    CHECK(*read == dtype);
  }
  CHECK(parseDType("fp8").status().message() == "unknown dtype 'fp8': expected f32, bf16 or f16");
}

TEST_CASE("uniform routing gives the remainder to the first experts", "[core][histogram]") {
  // 5 tokens * 2 pairs over 4 experts: 2.5 each.
  Histogram histogram = Histogram::uniform(5, 2, 4);
  CHECK(histogram == Histogram{5, {3, 3, 2, 2}});
  CHECK(histogram.total() == 10);
  CHECK(histogram.busiest() == 3);
  CHECK(Histogram::uniform(5, 2, 0).pairs.empty());
  CHECK(Histogram{}.busiest() == 0);
}

TEST_CASE("total variation is the part of the pairs that goes elsewhere", "[core][histogram]") {
  using Pairs = std::vector<uint32_t>;
  CHECK(totalVariation(Pairs{50, 50}, Pairs{200, 200}) == 0);
  CHECK(totalVariation(Pairs{100, 0}, Pairs{70, 30}) == Approx(0.3));
  CHECK(totalVariation(Pairs{100, 0}, Pairs{0, 5}) == 1);
  CHECK(totalVariation(Pairs{0, 0}, Pairs{0, 5}) == 0);
  CHECK(totalVariation(Pairs{1}, Pairs{0, 5}) == 0);
}

TEST_CASE("imbalance is the busiest expert over the mean", "[core][histogram]") {
  using Pairs = std::vector<uint32_t>;
  CHECK(imbalance(Pairs{4, 4, 4, 4}) == 1);
  CHECK(imbalance(Pairs{0, 16, 0, 0}) == 4);
  CHECK(imbalance(Pairs{0, 0}) == 0);
  CHECK(imbalance(Pairs{}) == 0);
}

TEST_CASE("a config's text names isa, dtype and heights", "[core][config]") {
  CpuConfig config{.isa = CpuIsa::Avx512Bf16, .compute = DType::BF16, .tileRows = {14, 8, 1}};
  CHECK(config.text() == "cpu{isa=avx512bf16,compute=bf16,rows=14.8.1}");
}

TEST_CASE("padded strides hold the columns in an odd number of cache lines", "[core][config]") {
  for (uint32_t columns = 1; columns < 3000; ++columns)
    for (DType dtype : {DType::F32, DType::BF16}) {
      uint32_t stride = paddedStride(columns, dtype);
      REQUIRE(stride >= columns);
      REQUIRE(stride * byteSize(dtype) % 128 == 64);
      REQUIRE((stride - columns) * byteSize(dtype) < 128);
    }
}

TEST_CASE("a panel is two vectors wide and an even K long", "[core][config]") {
  CHECK(panelBytes(64, 16, DType::BF16) == 64 * 32 * 2);
  CHECK(panelBytes(63, 16, DType::BF16) == 64 * 32 * 2);
  CHECK(panelBytes(64, 8, DType::F32) == 64 * 16 * 4);
}

TEST_CASE("a calibration has room for every target's tallest tile", "[core][target]") {
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16}) {
    TargetFacts facts{.isa = isa};
    // Two sums a row leave at least three of the 16 or 32 registers for the weights and a
    // broadcast.
    CHECK(2 * facts.maxTileRows() + 3 <= (isa == CpuIsa::Avx2 ? 16u : 32u));
    CHECK(facts.maxTileRows() <= Calibration::maxRows);
  }
}

TEST_CASE("a GPU's name brings its own facts and nothing of the machine", "[core][target]") {
  TargetFacts machine{.name = "x", .isa = CpuIsa::Avx512, .threads = 7, .l2Bytes = 5};
  for (auto [name, arch, model] : {std::array{"sm_90a", "sm_90a", "H100"}, std::array{"h200", "sm_90a", "H200"},
                                   std::array{"sm_80", "sm_80", "A100"}}) {
    Result<TargetFacts> gpu = targetByName(name, machine);
    REQUIRE(gpu.ok());
    CHECK(gpu->device == DeviceKind::Cuda);
    CHECK(gpu->arch == arch);
    CHECK(gpu->gpu.model == model);
    CHECK(gpu->threads == TargetFacts().threads);
  }
  Status unknown = targetByName("sm_91", machine).status();
  CHECK(unknown.code() == Code::InvalidArgument);
  CHECK(unknown.message().find("sm_90a") != std::string::npos);
}

TEST_CASE("a tile's text is read back, and nothing else is a tile", "[core][config]") {
  const CudaTile tile{GemmFamily::Hopper, true, 16, 128, 12, 1, 1, 1};
  CHECK(tile.text() == "swapped-16x128-s12-w1x1-b1");
  REQUIRE(CudaTile::parse(tile.text()).ok());
  CHECK(*CudaTile::parse(tile.text()) == tile);
  for (const char *text : {"", "swapped", "swapped-16x128-s12-w1x1-b1 ", "swapped-016x128-s12-w1x1-b1",
                           "hopper-70000x128-s4-w2x1-b1", "hopper-128x256-s4-w2x1", "hopper--1x256-s4-w2x1-b1",
                           "wide-128x256-s4-w2x1-b1", "hopper-128x256-s4-w2x1-b1-", "fitted-192x256-s4-w2x1-b1-rows"})
    CHECK(CudaTile::parse(text).status().code() == Code::InvalidArgument);
}

TEST_CASE("a target name overrides the machine's extension and nothing else", "[core][target]") {
  TargetFacts machine{.name = "x", .isa = CpuIsa::Avx512, .threads = 7, .l2Bytes = 5};
  Result<TargetFacts> own = targetByName("cpu", machine);
  REQUIRE(own.ok());
  CHECK(own->isa == CpuIsa::Avx512);
  Result<TargetFacts> avx2 = targetByName("cpu-avx2", machine);
  REQUIRE(avx2.ok());
  CHECK(*avx2 == TargetFacts{.name = "cpu-avx2", .isa = CpuIsa::Avx2, .threads = 7, .l2Bytes = 5});
  CHECK(avx2->lanes() == 8);
  CHECK(targetByName("cpu-neon", machine).status().code() == Code::InvalidArgument);
}
