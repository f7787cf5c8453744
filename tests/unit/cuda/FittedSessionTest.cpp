// Sessions whose products run on fitted tiles: what the kernels are handed.
#include "tests/unit/cuda/CudaBench.h"

#include "compiler/core/CudaLaunch.h"

#include <set>

using namespace moec;
using namespace moec::test;

namespace {

const std::string wide = "fitted-192x256-s4-w2x1-b1", narrow = "fitted-16x64-s5-w1x4-b1";

uint64_t addressOf(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

/// Rows [rows, columns] in boxes of 64 columns by `boxRows` rows, from `from` on.
void checkRows(const FakeTensorMap &map, const void *from, uint32_t columns, uint32_t rows, uint32_t boxRows) {
  CHECK(map.rank == 2);
  CHECK(map.address == addressOf(from));
  CHECK(map.sizes[0] == columns);
  CHECK(map.sizes[1] == rows);
  CHECK(map.strides[0] == columns * 2);
  CHECK(map.box[0] == 64);
  CHECK(map.box[1] == boxRows);
}

} // namespace

TEST_CASE("fitted products get maps of their weights and of the step's own rows", "[cuda][fitted]") {
  // H = 44 and I = 20 are rounded up to 48 and 24; 64 tokens at most, two experts each: 128 rows.
  CudaBench bench(
      {}, {describeLayer(0, {.hidden = 44, .intermediate = 20, .experts = 6, .topK = 2, .dtype = DType::BF16})});
  bench.mustOpen();
  for (const std::string &tile : {wide, narrow}) {
    CAPTURE(tile);
    bench.publish(tile, tile);
    bench.cuda.forget();
    REQUIRE(bench.step(bench.cuda.stream()).ok());
    const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
    REQUIRE(products.size() == 2);
    const FakeFitted &gateUp = products[0], &down = products[1];
    CHECK(gateUp.symbol == "gate-up:" + tile);
    CHECK(down.symbol == "down:" + tile);
    const GemmConfig config = gemmConfigOf(*CudaTile::parse(tile), DType::BF16, GemmRole::Down, false);
    // Down overlaps gate-up in wide tiles: both go by counts that dispatch clears. Narrow ones find their pairs.
    CHECK((gateUp.args.few.ids == nullptr) == (tile == wide));
    const uint32_t *counts = nullptr;
    if (tile == wide) {
      const DispatchArgs dispatched = bench.cuda.lastDispatch();
      CHECK(dispatched.mixRows == kMixRowsWide);
      CHECK(dispatched.numProgress == numProgressCounts(192, 6, dispatched.numPairs));
      counts = dispatched.progress;
    }
    CHECK(gateUp.args.progress.counts == counts);
    CHECK(down.args.progress.counts == counts);
    CHECK((down.args.progress.all > 0 && down.args.progress.ofTile > 0) == (tile == wide));

    // Gate and up through one map: eight rows of gate, eight of up, three such groups an expert.
    const uint32_t sizes[] = {48, 8, 2, 3, 6}, boxes[] = {64, 8, 2, boxGroups(config), 1};
    CHECK(gateUp.weights.rank == 5);
    CHECK(gateUp.weights.address == addressOf(gateUp.args.weights));
    CHECK(std::equal(std::begin(sizes), std::end(sizes), gateUp.weights.sizes));
    CHECK(std::equal(std::begin(boxes), std::end(boxes), gateUp.weights.box));
    CHECK(gateUp.weights.strides[1] == addressOf(gateUp.args.upWeights) - addressOf(gateUp.args.weights));
    CHECK(gateUp.weights.strides[3] == 48 * 24 * 2);
    checkRows(gateUp.output, gateUp.args.output, 24, 128, kOutputBoxRows);

    CHECK(down.weights.rank == 3);
    CHECK(down.weights.address == addressOf(down.args.weights));
    CHECK(down.weights.sizes[0] == 24);
    CHECK(down.weights.sizes[1] == 48);
    CHECK(down.weights.box[1] == config.tileWeights);
    CHECK(down.args.tokens == gateUp.args.output);
    checkRows(down.tokens, down.args.tokens, 24, 128, tokenBoxRows(config));
    checkRows(down.output, down.args.output, 48, 128, kOutputBoxRows);

    // Zeros, where the fake's memory holds something else at first; never the same at once.
    REQUIRE((gateUp.args.tileCounters && down.args.tileCounters));
    CHECK(gateUp.args.tileCounters + kTileCounters <= down.args.tileCounters);
    for (uint32_t i = 0; i < kTileCounters; ++i) {
      CHECK(gateUp.args.tileCounters[i] == 0);
      CHECK(down.args.tileCounters[i] == 0);
    }
  }
}

TEST_CASE("fitted tiles and others share a layer, and each gets its own parameters", "[cuda][fitted]") {
  CudaBench bench;
  bench.mustOpen();
  for (const char *other : {"portable-16x128-s5-w1x4-b2", "swapped-16x128-s6-w1x1-b2"})
    for (bool fittedFirst : {true, false}) {
      bench.publish(fittedFirst ? narrow : other, fittedFirst ? other : narrow);
      bench.cuda.forget();
      REQUIRE(bench.step(bench.cuda.stream()).ok());
      const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
      CAPTURE(other, fittedFirst);
      REQUIRE(products.size() == 1);
      CHECK(products[0].symbol == (fittedFirst ? "gate-up:" : "down:") + narrow);
      CHECK(products[0].output.address == addressOf(products[0].args.output));
    }
}

TEST_CASE("steps that run at once share neither rows nor counters of fitted products", "[cuda][fitted]") {
  CudaBench bench([](SessionOptions &options) {
    options.maxSteps = 2;
    options.maxGraphs = 1;
  });
  bench.mustOpen();
  bench.publish(wide, wide);
  bench.cuda.forget();
  const CudaApi &api = *bench.cuda.api();
  CUstream captured = bench.cuda.stream();
  REQUIRE(api.cuStreamBeginCaptureFn(captured, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
  CUgraph graph = nullptr;
  {
    const TensorView in{bench.hidden.data(), DType::BF16, 4, 44}, out{bench.output.data(), DType::BF16, 4, 44};
    auto first = bench.session->begin({.tokens = 4, .stream = bench.cuda.stream()});
    auto second = bench.session->begin({.tokens = 4, .stream = bench.cuda.stream()});
    auto recorded = bench.session->begin({.tokens = 4, .stream = captured});
    REQUIRE((first.ok() && second.ok() && recorded.ok()));
    for (Step *step : {&*first, &*second, &*recorded, &*first})
      REQUIRE(step->layer(0).forward(in, out).ok());
  }
  REQUIRE(api.cuStreamEndCaptureFn(captured, &graph) == CUDA_SUCCESS);
  REQUIRE(api.cuGraphDestroyFn(graph) == CUDA_SUCCESS);

  const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
  REQUIRE(products.size() == 4 * 2);
  std::set<const uint32_t *> counters;
  std::set<uint64_t> outputs;
  for (const FakeFitted &product : products) {
    counters.insert(product.args.tileCounters);
    outputs.insert(product.output.address);
    CHECK(product.output.address == addressOf(product.args.output));
  }
  CHECK(counters.size() == 3 * 2); // the first step's twice
  CHECK(outputs.size() == 3 * 2);
}

TEST_CASE("layers of other sizes have maps of their own rows", "[cuda][fitted]") {
  CudaBench bench({},
                  {describeLayer(0, {.hidden = 40, .intermediate = 24, .experts = 6, .topK = 2, .dtype = DType::BF16}),
                   describeLayer(1, {.hidden = 40, .intermediate = 16, .experts = 4, .topK = 2, .dtype = DType::F16})});
  bench.mustOpen();
  bench.publish(wide, wide);
  LayerPlan plan = bench.session->host().livePlan(1);
  plan.config.cuda.gateUp = plan.config.cuda.down = *CudaTile::parse(wide);
  auto built = bench.session->host().build({{1, plan}}, {}, {});
  INFO(built.status().message());
  REQUIRE(built.ok());
  REQUIRE(bench.session->host().publish(built->generation).ok());
  bench.cuda.forget();
  auto step = bench.session->begin({.tokens = 4, .stream = bench.cuda.stream()});
  REQUIRE(step.ok());
  REQUIRE(
      step->layer(1).forward({bench.hidden.data(), DType::F16, 4, 40}, {bench.output.data(), DType::F16, 4, 40}).ok());
  const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
  REQUIRE(products.size() == 2);
  checkRows(products[0].output, products[0].args.output, 16, 128, kOutputBoxRows);
  checkRows(products[1].output, products[1].args.output, 40, 128, kOutputBoxRows);
}

TEST_CASE("GPUs without tensor maps make none", "[cuda][fitted]") {
  CudaBench bench;
  bench.cuda.model = "NVIDIA A100-SXM4-80GB", bench.cuda.major = 8, bench.cuda.multiprocessors = 108,
  bench.cuda.memoryKhz = 1'593'000;
  bench.mustOpen();
  CHECK(bench.step(bench.cuda.stream()).ok());
  CHECK(bench.cuda.count("cuTensorMapEncodeTiled") == 0);
}

TEST_CASE("a step on fitted tiles only queues", "[cuda][fitted]") {
  CudaBench bench;
  bench.mustOpen();
  bench.publish(wide, wide);
  CUstream stream = bench.cuda.stream();
  REQUIRE(bench.step(stream).ok());
  bench.cuda.forget();
  REQUIRE(bench.step(stream).ok());
  for (const char *call : {"cuMemsetD8Async", "cuMemAlloc", "cuStreamSynchronize"}) {
    CAPTURE(call);
    CHECK(bench.cuda.count(call) == 0);
  }
  CHECK(bench.cuda.count("cuTensorMapEncodeTiled") ==
        1); // of the hidden states, which are the caller's; host code alone
  CHECK(bench.cuda.count("cuLaunchKernelEx") == 6);
}

namespace {

/// A layer of one expert a token, and steps whose routing is given: to expert 1, one token to none.
struct OneExpertBench : CudaBench {
  std::vector<int32_t> ids = std::vector<int32_t>(40, 1);
  const std::vector<float> weights = std::vector<float>(40, 0.5f);

  static constexpr LayerShape plain{.hidden = 48, .intermediate = 24, .experts = 6, .topK = 1, .dtype = DType::BF16};

  explicit OneExpertBench(const LayerShape &shape = plain) : CudaBench({}, {describeLayer(0, shape)}) {
    ids[3] = -1;
    hidden.resize(ids.size() * shape.hidden);
    output.resize(ids.size() * shape.hidden);
    mustOpen();
  }

  /// How many a step makes.
  size_t launches(const std::string &gateUp, const std::string &down, uint32_t tokens) {
    publish(gateUp, down);
    cuda.forget();
    const uint32_t columns = layers[0].shape.hidden;
    const TensorView in{hidden.data(), DType::BF16, tokens, columns}, out{output.data(), DType::BF16, tokens, columns};
    Result<Step> step = session->begin({.tokens = tokens, .stream = cuda.stream()});
    REQUIRE(step.ok());
    REQUIRE(step->layer(0).forward(in, ids.data(), weights.data(), out).ok());
    return cuda.count("cuLaunchKernelEx");
  }
};

} // namespace

TEST_CASE("down writes the outputs of tokens with one expert, and no combine runs", "[cuda][fitted]") {
  OneExpertBench bench;
  for (const std::string &tile : {wide, narrow})
    for (const uint32_t tokens : {20u, 40u}) { // few pairs, and with dispatch or found by blocks
      CAPTURE(tile, tokens);
      CHECK(bench.launches(tile, tile, tokens) == (tokens > kFewPairs && tile == wide ? 3 : 2));
      const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
      REQUIRE(products.size() == 2);
      const GroupedGemmArgs &gateUp = products[0].args, &down = products[1].args;
      CHECK(gateUp.ids == nullptr);
      CHECK(down.output == bench.output.data());
      CHECK(down.ids == bench.ids.data());
      CHECK(down.pairWeights == bench.weights.data());
      CHECK((down.numRows == tokens && down.numExperts == 6));
      CHECK(down.ring.words != nullptr);
    }
  CHECK(bench.launches(narrow, "portable-16x128-s5-w1x4-b2", 40) == 4); // whose down has no such form
}

TEST_CASE("down that combines writes padded rows where they are copied from, and weighs no rows twice",
          "[cuda][fitted]") {
  LayerShape shape = OneExpertBench::plain;
  SECTION("hidden states of an odd length") {
    shape.hidden = 44;
    OneExpertBench bench(shape);
    CHECK(bench.launches(wide, wide, 40) == 3);
    const GroupedGemmArgs down = bench.cuda.fittedLaunches().back().args;
    REQUIRE(down.ids == bench.ids.data());
    CHECK(down.n == 48);
    CHECK(down.output != bench.output.data()); // rows of 48
  }
  SECTION("weights on the experts' input") {
    shape.weightOnInput = true;
    OneExpertBench bench(shape);
    CHECK(bench.launches(narrow, narrow, 40) == 2);
    const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
    CHECK(products.front().args.pairWeights == bench.weights.data());
    CHECK(products.back().args.ids == bench.ids.data());
    CHECK(products.back().args.pairWeights == nullptr);
  }
}

TEST_CASE("e4m3 down combines as well", "[cuda][fitted][fp8]") {
  LayerShape shape = e4m3Shape;
  shape.topK = 1;
  OneExpertBench bench(shape);
  const std::string tile = "fp8-16x64-s5-w1x4-b1";
  CHECK(bench.launches(tile, tile, 40) == 4); // and what quantises rows before either product
  const FakeFitted down = bench.cuda.fittedLaunches().back();
  CHECK(down.symbol == "down:" + tile);
  CHECK(down.args.output == bench.output.data());
  CHECK((down.args.ids == bench.ids.data() && down.args.pairWeights == bench.weights.data()));
}

TEST_CASE("a shared expert's output is added by combine, however few experts a token has", "[cuda][fitted]") {
  LayerShape shape = OneExpertBench::plain;
  shape.sharedIntermediate = 16;
  OneExpertBench bench(shape);
  CHECK(bench.launches(narrow, narrow, 20) == 5); // both products, both of the shared expert, combine
  CHECK(bench.cuda.fittedLaunches().back().args.ids == nullptr);
}
