// Generations: building, validating, publishing, retiring, while steps run.
#include "tests/unit/runtime/FakeKernels.h"
#include "tests/unit/runtime/Harness.h"

#include <atomic>
#include <thread>

using namespace moec;
using namespace moec::test;

namespace {

LayerDescription smallLayer(uint32_t number = 0) {
  return describeLayer(number, {.hidden = 24, .intermediate = 16, .experts = 6, .topK = 2, .dtype = DType::BF16});
}

} // namespace

TEST_CASE("500 swaps under 4 calling threads give no wrong result and free what they retire", "[runtime][swap]") {
  Harness harness({smallLayer(0), smallLayer(1)}, [](SessionOptions &options) {
    options.maxSteps = 4;
    options.threads = 3;
  });
  Tensor hidden = Tensor::random(9, 24, DType::BF16, 5);
  const std::vector<std::byte> expected[] = {harness.forward(hidden, 0).bytes, harness.forward(hidden, 1).bytes};
  const int imagesBefore = loadedFakes();

  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0}, failed{0}, steps{0}, newest{0};
  auto caller = [&] {
    Tensor input = hidden, output(9, 24, DType::BF16);
    while (!stop) {
      auto step = harness.session->begin({.tokens = 9});
      if (!step) {
        ++failed;
        continue;
      }
      for (uint32_t layer : {0u, 1u}) {
        failed += !step->layer(layer).forward(input.view(), output.view()).ok();
        wrong += output.bytes != expected[layer];
      }
      for (uint64_t seen = newest;
           seen < step->generation() && !newest.compare_exchange_weak(seen, step->generation());) {
      }
      ++steps;
    }
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back(caller);

  GenerationHost &host = harness.session->host();
  const std::vector<std::vector<uint16_t>> heights = {{6, 1}, {4, 2, 1}, {5, 3}, {3}};
  uint64_t live = 0, swaps = 0;
  for (; swaps < 500; ++swaps) {
    const uint32_t layer = swaps % 2;
    auto built =
        host.build({{layer, harness.plan(layer, heights[swaps % 4], swaps % 3 != 0, swaps % 5 ? 1000 : 1)}}, {}, {});
    if (!built || !host.publish(built->generation).ok())
      break;
    if (swaps % 7 == 0)
      REQUIRE(host.alternate(live, built->generation, true).ok());
    if (swaps % 7 == 3)
      REQUIRE(host.alternate(0, 0, false).ok());
    host.retire(live);
    live = built->generation;
  }
  while (newest < live) // steps do get to run on what was published last
    std::this_thread::yield();
  stop = true;
  for (std::thread &thread : callers)
    thread.join();

  CHECK(swaps == 500);
  CHECK(wrong == 0);
  CHECK(failed == 0);
  CHECK(steps >= 4);
  CHECK(harness.session->liveGeneration() == live);
  // Four sets of heights for two layers, each compiled once: the other 492 builds reused loaded kernels.
  CHECK(harness.compiler.compiles <= 1 + 8);
  CHECK(loadedFakes() <= imagesBefore + 8);
  CHECK(harness.forward(hidden, 0).bytes == expected[0]);
}

TEST_CASE("a generation that computes something else never goes live", "[runtime][swap]") {
  Harness harness({smallLayer()});
  harness.compiler.wrongHeight = 5;
  auto built = harness.session->host().build({{0, harness.plan(0, {5, 2})}}, {}, {});
  CHECK(built.status().code() == Code::VerificationMismatch);
  CHECK(built.status().message().find("layer 0: cpu{isa=avx2,compute=bf16,rows=5.2} differs") == 0);
  CHECK(harness.session->liveGeneration() == 0);
}

TEST_CASE("a new table compiles nothing, a known config is reused, a new one is compiled once", "[runtime][swap]") {
  Harness harness({smallLayer()});
  GenerationHost &host = harness.session->host();
  REQUIRE(harness.compiler.compiles == 1);
  LayerPlan table = host.livePlan(0);
  std::reverse(table.table.order.begin(), table.table.order.end());
  auto retabled = host.build({{0, table}}, {}, {});
  REQUIRE(retabled.ok());
  CHECK(harness.compiler.compiles == 1);
  CHECK(retabled->compileMs == 0);
  CHECK(retabled->kernelsBuilt == 0);

  auto compiled = host.build({{0, harness.plan(0, {5, 2})}}, {}, {});
  REQUIRE(compiled.ok());
  CHECK(compiled->kernelsBuilt == 1);
  CHECK(harness.compiler.compiles == 2);
  host.retire(compiled->generation);
  CHECK(host.build({{0, harness.plan(0, {5, 2}, false)}}, {}, {})->kernelsBuilt == 0);
  CHECK(harness.compiler.compiles == 2);
}

TEST_CASE("experts that stay packed are shared, not packed again", "[runtime][swap]") {
  Harness harness({smallLayer()});
  GenerationHost &host = harness.session->host();
  LayerPlan plan = host.livePlan(0);
  plan.table.packed.assign(6, 0);
  auto none = host.build({{0, plan}}, {}, {});
  REQUIRE(none.ok());
  REQUIRE(host.publish(none->generation).ok());
  CHECK(none->packedBytes == 0);
  plan.table.packed = {1, 1, 0, 0, 0, 0};
  auto two = host.build({{0, plan}}, {}, {});
  REQUIRE(two.ok());
  REQUIRE(host.publish(two->generation).ok());
  CHECK(two->packedBytes > 0);
  plan.table.packed = {1, 1, 1, 0, 0, 0};
  auto three = host.build({{0, plan}}, {}, {});
  REQUIRE(three.ok());
  CHECK(three->packedBytes == two->packedBytes / 2 * 3);
}

TEST_CASE("strict mode and mode off never compile", "[runtime][strict]") {
  FakeCompiler compiler;
  auto model = makeModel(compiler, {smallLayer()});
  SessionOptions options = fakeOptions(std::make_shared<MadeUpWeights>());
  options.mode = Mode::Strict;
  auto refused = Session::open(model, options);
  CHECK(refused.status().code() == Code::CompileForbidden);
  CHECK(compiler.compiles == 0);

  Harness off({smallLayer()}, [](SessionOptions &o) { o.mode = Mode::Off; });
  CHECK(off.session->host().build({{0, off.plan(0, {4})}}, {}, {}).status().code() == Code::CompileForbidden);
  CHECK(off.compiler.compiles == 1);
}

TEST_CASE("a warm cache serves strict mode, and the compiler is never called", "[runtime][strict]") {
  TemporaryFolder folder;
  auto store = CacheStore::open(folder.path());
  REQUIRE(store.ok());
  auto cache = std::make_shared<CacheStore>(std::move(*store));
  Harness warm({smallLayer()}, [](SessionOptions &o) { o.packBudget.share = 1; }, cache);
  CHECK(warm.compiler.compiles == 1);
  CHECK_FALSE(warm.session->opened().cacheHit);

  // Another pack budget is another table, not another kernel.
  Harness strict(
      {smallLayer()},
      [](SessionOptions &o) {
        o.mode = Mode::Strict;
        o.packBudget.share = 0.5;
      },
      cache);
  CHECK(strict.session->opened().cacheHit);
  CHECK(strict.compiler.compiles == 0);
  CHECK(strict.compiler.others == 0); // the description came from the cache, too
  CHECK_FALSE(strict.model->compiler()->called());
  LayerPlan unknown = strict.session->host().livePlan(0);
  unknown.config.cpu.tileRows = {5, 4, 1};
  CHECK(strict.session->host().build({{0, unknown}}, {}, {}).status().code() == Code::CompileForbidden);
}

TEST_CASE("builds can be cancelled, and bad plans are refused by name", "[runtime][swap]") {
  Harness harness({smallLayer()});
  GenerationHost &host = harness.session->host();
  CHECK(host.build({{0, harness.plan(0, {4})}}, {}, [] { return true; }).status().code() == Code::Cancelled);
  CHECK(host.build({{9, harness.plan(0, {4})}}, {}, {}).status().code() == Code::NotFound);
  LayerPlan plan = harness.plan(0, {4});
  plan.table.order[0] = plan.table.order[1];
  CHECK(host.build({{0, plan}}, {}, {}).status().message() == "the plan of layer 0: order must name each expert once");
  CHECK(host.publish(77).code() == Code::NotFound);
  CHECK(host.alternate(3, 4, true).code() == Code::NotFound);
}

TEST_CASE("a plan that packs more than its layer's budget is refused with both numbers", "[runtime][swap][budget]") {
  Harness harness({smallLayer()}, [](SessionOptions &options) { options.packBudget.share = 0.5; });
  GenerationHost &host = harness.session->host();
  const uint64_t budget = host.limits(0).packBudgetBytes, packed = harness.session->opened().packedBytes;
  CHECK(packed > 0);
  CHECK(packed <= budget);
  LayerPlan plan = host.livePlan(0);
  plan.table.packed.assign(6, 1);
  const Status refused = host.build({{0, plan}}, {}, {}).status();
  CHECK(refused.code() == Code::InvalidArgument);
  CHECK(refused.message() ==
        fmt::format("the plan of layer 0: 6 packed experts take {} bytes, its pack budget is {}", 2 * budget, budget));
}

TEST_CASE("what builds cost is kept for the loop's first weighing", "[runtime][swap]") {
  Harness harness({smallLayer()});
  GenerationHost &host = harness.session->host();
  CHECK(host.costs().packNsPerByte > 0); // from opening
  CHECK(host.costs().validateMs == 0);   // nothing was validated yet
  REQUIRE(host.build({{0, harness.plan(0, {4})}}, {}, {}).ok());
  CHECK(host.costs().validateMs > 0);
}

TEST_CASE("a step keeps its generation, and alternation gives every second step the other", "[runtime][swap]") {
  Harness harness({smallLayer()});
  GenerationHost &host = harness.session->host();
  auto built = host.build({{0, harness.plan(0, {4, 1})}}, {}, {});
  REQUIRE(built.ok());
  auto old = harness.session->begin({.tokens = 1});
  REQUIRE(host.publish(built->generation).ok());
  CHECK(old->generation() == 0);
  CHECK(harness.session->begin({.tokens = 1})->generation() == built->generation);
  REQUIRE(host.alternate(0, built->generation, true).ok());
  int runs[2] = {};
  for (int i = 0; i < 10; ++i)
    ++runs[harness.session->begin({.tokens = 1})->generation() != 0];
  CHECK(runs[0] == 5);
  CHECK(runs[1] == 5);
  REQUIRE(host.alternate(0, built->generation, false).ok());
  for (int i = 0; i < 4; ++i)
    CHECK(harness.session->begin({.tokens = 1})->generation() == built->generation);
}

TEST_CASE("a session that has seen many configs still builds new ones, and old ones again", "[runtime][swap]") {
  Harness harness({smallLayer()});
  GenerationHost &host = harness.session->host();
  uint64_t before = 0;
  for (int round = 0; round < 2; ++round)
    for (uint16_t a = 5; a > 1; --a)
      for (uint16_t b = static_cast<uint16_t>(a - 1); b > 0; --b)
        for (bool one : {false, true}) { // twenty sets of heights; sixteen are kept
          std::vector<uint16_t> heights = {a, b};
          if (one && b > 1)
            heights.push_back(1);
          auto built = host.build({{0, harness.plan(0, heights)}}, {}, {});
          INFO(built.status().message());
          REQUIRE(built.ok());
          REQUIRE(host.publish(built->generation).ok());
          if (before)
            host.retire(before);
          before = built->generation;
        }
}

TEST_CASE("no more than maxSteps steps are in flight", "[runtime][swap]") {
  Harness harness({smallLayer()}, [](SessionOptions &options) { options.maxSteps = 2; });
  auto a = harness.session->begin({.tokens = 1});
  {
    auto b = harness.session->begin({.tokens = 1});
    CHECK(harness.session->begin({.tokens = 1}).status().code() == Code::ResourceExhausted);
  }
  CHECK(harness.session->begin({.tokens = 1}).ok());
}

TEST_CASE("a launch list without a store is refused", "[runtime][package]") {
  FakeCompiler compiler;
  compiler.dropStore = true;
  auto model = makeModel(compiler, {smallLayer(4)});
  auto opened = Session::open(model, fakeOptions(std::make_shared<MadeUpWeights>()));
  CHECK(opened.status().code() == Code::InvalidModel);
  CHECK(opened.status().message().find("layer 4: the launch list has no store") != std::string::npos);
}
