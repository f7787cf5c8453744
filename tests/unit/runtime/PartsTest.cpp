// The executor's parts, each alone.
#include "compiler/core/Plan.h"
#include "runtime/Environment.h"
#include "runtime/PackBudget.h"
#include "runtime/device/cpu/CoverTable.h"
#include "runtime/device/cpu/Image.h"
#include "runtime/device/cpu/MachineFacts.h"
#include "runtime/device/cpu/Route.h"
#include "runtime/device/cpu/ThreadPool.h"
#include "tests/unit/Catch.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <limits>
#include <numeric>

using namespace moec;

namespace {

constexpr float notANumber = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

struct Routed {
  uint32_t bad;
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

Routed routeOne(RouterSpec router, uint32_t topK, std::vector<float> logits) {
  RouteSpec spec{router, static_cast<uint32_t>(logits.size()), topK, nullptr, nullptr};
  std::vector<float> scratch(3 * (logits.size() + 16));
  Routed routed{0, std::vector<int32_t>(topK), std::vector<float>(topK)};
  routed.bad = routeToken(spec, logits.data(), scratch.data(), routed.ids.data(), routed.weights.data());
  return routed;
}

} // namespace

TEST_CASE("ties go to the lower expert", "[runtime][route]") {
  CHECK(routeOne({}, 3, {1, 2, 2, 1, 2}).ids == std::vector<int32_t>{1, 2, 4});
  CHECK(routeOne({}, 3, std::vector<float>(40, 0.5f)).ids == std::vector<int32_t>{0, 1, 2});
}

TEST_CASE("a logit that is not finite is chosen last, weighs nothing and is counted", "[runtime][route]") {
  for (float bad : {notANumber, infinity, -infinity})
    for (Scoring before : {Scoring::None, Scoring::Softmax, Scoring::Sigmoid}) {
      Routed routed = routeOne({.before = before}, 3, {bad, 1, bad, 2});
      CHECK(routed.bad == 2);
      CHECK(routed.ids == std::vector<int32_t>{3, 1, 0});
      CHECK(routed.weights[2] == 0);
      CHECK(routed.weights[0] > routed.weights[1]);
    }
  Routed none = routeOne({.scale = 3.0}, 3, {notANumber, notANumber, infinity, notANumber});
  CHECK(none.bad == 4);
  CHECK(none.ids == std::vector<int32_t>{0, 1, 2});
  CHECK(none.weights == std::vector<float>{1, 1, 1});
}

TEST_CASE("softmax weights are within 3e-6 of the exact ones over 40 nats", "[runtime][route]") {
  std::vector<float> logits;
  for (int e = 0; e < 61; ++e)
    logits.push_back(static_cast<float>(std::sin(e * 1.7) * 20));
  Routed routed = routeOne({}, 61, logits);
  double most = *std::max_element(logits.begin(), logits.end()), sum = 0;
  for (float logit : logits)
    sum += std::exp(logit - most);
  // Differences up to 40 are rounded to 2e-6 in f32, which is the relative error of their exponential.
  for (int k = 0; k < 61; ++k)
    CHECK(routed.weights[k] == Approx(std::exp(logits[routed.ids[k]] - most) / sum).epsilon(3e-6));
}

TEST_CASE("routers that cannot be run are refused by field", "[runtime][route]") {
  LayerShape shape{.hidden = 8, .intermediate = 8, .experts = 8, .topK = 3};
  CHECK(checkRouter({.groups = 4, .groupsPicked = 2}, shape).ok());
  for (RouterSpec router : {RouterSpec{.groups = 3},
                            {.groups = 4, .groupsPicked = 1},
                            {.groups = 4, .groupsPicked = 5},
                            {.groups = 0},
                            {.groups = 4, .groupsPicked = 2, .groupTop = 3}})
    CHECK(checkRouter(router, shape).code() == Code::InvalidModel);
}

TEST_CASE("cover tables answer what coverRows does", "[runtime][cover]") {
  TargetFacts facts{.isa = CpuIsa::Avx512Bf16};
  Calibration calibration = Calibration::assumed(facts, DType::BF16);
  for (std::vector<uint16_t> heights : {std::vector<uint16_t>{14, 8, 4, 2, 1}, {14}, {12, 5, 1}, {6, 3}}) {
    CpuConfig config{facts.isa, DType::BF16, heights};
    CoverTable table(config, calibration);
    for (uint32_t rows = 0; rows < 400; ++rows) {
      uint32_t next = 0, covered = 0;
      std::vector<uint16_t> tiles;
      table.forEachTile(rows, [&](uint32_t tile, uint32_t row, uint32_t height) {
        REQUIRE(row == next);
        REQUIRE(height == heights[tile]);
        next += heights[tile];
        tiles.push_back(heights[tile]);
      });
      covered = next;
      TileCover expected = coverRows(rows, config, calibration);
      std::sort(tiles.begin(), tiles.end(), std::greater<>());
      std::sort(expected.tiles.begin(), expected.tiles.end(), std::greater<>());
      REQUIRE(tiles == expected.tiles);
      REQUIRE(table.covered(rows) == covered);
      REQUIRE(covered >= rows);
      REQUIRE(covered < rows + heights.front());
    }
  }
}

TEST_CASE("every item of every section runs exactly once, with several callers", "[runtime][pool]") {
  ThreadPool pool({.threads = 3, .callers = 2, .spinMicroseconds = 1});
  auto caller = [&pool](std::atomic<int> &wrong) {
    for (uint32_t round = 0; round < 300; ++round) {
      std::vector<int> runs(round % 40, 0); // no atomics: a section's end must make its writes visible
      pool.parallelFor(static_cast<uint32_t>(runs.size()),
                       [&](uint32_t item, unsigned thread) { runs[item] += thread < pool.threads() ? 1 : 100; });
      wrong += std::any_of(runs.begin(), runs.end(), [](int n) { return n != 1; });
      if (round % 50 == 0) // let the workers fall asleep
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  };
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) // more callers than sections
    callers.emplace_back(caller, std::ref(wrong));
  for (std::thread &thread : callers)
    thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("a shared object is loaded from memory, apart from one that is loaded already", "[runtime][image]") {
  Dl_info info;
  REQUIRE(dladdr(reinterpret_cast<void *>(static_cast<double (*)(double)>(&::cbrt)), &info));
  std::ifstream file(info.dli_fname, std::ios::binary);
  Image image{"libm", {std::istreambuf_iterator<char>(file), {}}};
  auto first = loadSharedObject(image), second = loadSharedObject(image);
  INFO(first.status().message());
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  auto cube = reinterpret_cast<double (*)(double)>((*first)->symbol("cbrt"));
  REQUIRE(cube);
  CHECK(cube(27.0) == Approx(3.0));
  CHECK((*first)->symbol("cbrt") != (*second)->symbol("cbrt"));
  CHECK((*first)->symbol("no_such_symbol") == nullptr);
  CHECK(loadSharedObject({"bad", {1, 2, 3}}).status().code() == Code::Failure);
}

TEST_CASE("pack budgets are shares or bytes", "[runtime][budget]") {
  CHECK(PackBudget::parse("40%")->share == Approx(0.4));
  CHECK(PackBudget::parse("1024")->bytes == 1024);
  CHECK(PackBudget::parse("2GiB")->bytes == 2ull << 30);
  for (const char *bad : {"", "%", "101%", "-1%", "1TB", "x", "nan%"})
    CHECK(PackBudget::parse(bad).status().code() == Code::InvalidArgument);
  CHECK(PackBudget::parse("50%")->ofLayer(1000, 4000) == 500);
  CHECK(PackBudget::parse("1000")->ofLayer(1000, 4000) == 250);
  CHECK(PackBudget::parse("9000")->ofLayer(1000, 4000) == 1000);
}

TEST_CASE("unknown MOEC_ variables are warned about, known ones are read", "[runtime][environment]") {
  const char *variables[] = {"HOME=/home/a",  "MOEC_NUM_THREADS=3", "MOEC_CASH_DIR=/x",
                             "MOEC_LOG=loud", "NO_COLOR=1",         "MOEC_COMPILER_LIBRARY=",
                             nullptr};
  Environment environment = Environment::read(variables);
  CHECK(environment.cacheDir == "/home/a/.cache/moec");
  CHECK(environment.threads == 3);
  CHECK(environment.noColour);
  CHECK(environment.compilerLibrary.empty());
  REQUIRE(environment.warnings.size() == 2);
  CHECK(environment.warnings[0] == "MOEC_CASH_DIR is set, but moec knows no such variable");
  const char *explicitDir[] = {"XDG_CACHE_HOME=/c", "MOEC_CACHE_DIR=/d", nullptr};
  CHECK(Environment::read(explicitDir).cacheDir == "/d");
  CHECK(Environment::read(explicitDir + 2).cacheDir.empty());
}
