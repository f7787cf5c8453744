// What callers may do wrong, and what the driver may do late: an error that names it, and nothing that outlives its
// owner.
#include "runtime/device/cuda/Facts.h"
#include "runtime/device/cuda/GraphRunner.h"
#include "runtime/device/cuda/GraphSlots.h"
#include "tests/unit/cuda/CudaBench.h"

#include <algorithm>

using namespace moec;
using namespace moec::test;

namespace {

Status forward(CudaBench &bench, Step &step, uint32_t tokens) {
  return step.layer(0).forward({bench.hidden.data(), DType::BF16, tokens, 44},
                               {bench.output.data(), DType::BF16, tokens, 44});
}

void beginCapture(const FakeCuda &cuda, CUstream stream) {
  REQUIRE(cuda.api()->cuStreamBeginCaptureFn(stream, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
}

CUgraph endCapture(const FakeCuda &cuda, CUstream stream) {
  CUgraph graph = nullptr;
  REQUIRE(cuda.api()->cuStreamEndCaptureFn(stream, &graph) == CUDA_SUCCESS);
  return graph;
}

void destroy(const FakeCuda &cuda, CUgraph graph) { REQUIRE(cuda.api()->cuGraphDestroyFn(graph) == CUDA_SUCCESS); }

} // namespace

TEST_CASE("a graph that goes after its session frees nothing", "[cuda][graphs]") {
  for (const bool closed : {false, true}) {
    FakeCuda cuda;
    auto driver = CudaDriver::open("cuda:0", cuda.api());
    REQUIRE(driver.ok());
    std::vector<uint32_t> freed;
    const auto slots = std::make_shared<GraphSlots>([&](uint32_t slot) { freed.push_back(slot); });
    CUstream stream = cuda.stream();
    beginCapture(cuda, stream);
    REQUIRE(slots->hold(**driver, stream, 3).ok());
    CUgraph graph = endCapture(cuda, stream);
    if (closed)
      slots->close(); // as ~SessionState does before what a slot's freeing touches goes
    destroy(cuda, graph);
    CHECK(freed == (closed ? std::vector<uint32_t>{} : std::vector<uint32_t>{3}));
  }
}

TEST_CASE("a step is within its stream's capture from beginning to end, or not at all", "[cuda][graphs]") {
  CudaBench bench([](SessionOptions &options) { options.maxGraphs = 1; });
  bench.mustOpen();
  CUstream stream = bench.cuda.stream();
  {
    auto step = bench.session->begin({.tokens = 4, .stream = stream});
    REQUIRE(step.ok());
    beginCapture(bench.cuda, stream);
    const Status refused = forward(bench, *step, 4);
    CHECK(refused.code() == Code::InvalidArgument);
    CHECK(refused.message().find("began before its stream was being captured") != std::string::npos);
    CUgraph graph = endCapture(bench.cuda, stream);
    CHECK(reinterpret_cast<FakeGraph *>(graph)->work.empty());
    destroy(bench.cuda, graph);
    CHECK(forward(bench, *step, 4).ok()); // as it began
  }
  beginCapture(bench.cuda, stream);
  auto step = bench.session->begin({.tokens = 4, .stream = stream});
  REQUIRE(step.ok());
  CUgraph graph = endCapture(bench.cuda, stream);
  CHECK(forward(bench, *step, 4).message().find("began while its stream was being captured") != std::string::npos);
  beginCapture(bench.cuda, stream);
  CHECK(forward(bench, *step, 4).message() == "the step began in another capture of its stream");
  CUgraph second = endCapture(bench.cuda, stream);
  destroy(bench.cuda, graph);
  destroy(bench.cuda, second);
}

TEST_CASE("a step that ends within a capture which it did not begin in keeps its buffers, and records nothing there",
          "[cuda][graphs]") {
  CudaBench bench([](SessionOptions &options) { options.maxSteps = 2; });
  bench.mustOpen();
  CUstream stream = bench.cuda.stream();
  {
    auto step = bench.session->begin({.tokens = 4, .stream = stream});
    REQUIRE(step.ok());
    REQUIRE(forward(bench, *step, 4).ok());
    beginCapture(bench.cuda, stream);
    bench.cuda.forget();
  }
  CHECK(bench.cuda.count("cuEventRecord") == 0);
  CUgraph graph = endCapture(bench.cuda, stream);
  destroy(bench.cuda, graph);
  auto other = bench.session->begin({.tokens = 4, .stream = stream}); // the other one of two
  CHECK(other.ok());
  CHECK(bench.session->begin({.tokens = 4, .stream = stream}).status().code() == Code::ResourceExhausted);
}

TEST_CASE("rows, ids and weights lie where kernels can read them, or the forward says so", "[cuda]") {
  const auto layerOf = [](uint32_t hidden) {
    return describeLayer(0, {.hidden = hidden, .intermediate = 24, .experts = 6, .topK = 2, .dtype = DType::BF16});
  };
  std::vector<int32_t> ids(32);
  std::vector<float> weights(32);
  for (uint32_t hidden : {48u, 44u}) { // 44: rows are copied into padded ones first
    CAPTURE(hidden);
    CudaBench bench({}, {layerOf(hidden)});
    bench.mustOpen();
    auto step = bench.session->begin({.tokens = 4, .stream = bench.cuda.stream()});
    REQUIRE(step.ok());
    auto *in = reinterpret_cast<char *>(bench.hidden.data()), *out = reinterpret_cast<char *>(bench.output.data());
    REQUIRE(reinterpret_cast<uint64_t>(in) % 16 + reinterpret_cast<uint64_t>(out) % 16 == 0);
    const auto run = [&](size_t hiddenAt, size_t outputAt, size_t idsAt = 0, size_t weightsAt = 0) {
      return step->layer(0).forward(
          {in + hiddenAt, DType::BF16, 4, hidden},
          reinterpret_cast<const int32_t *>(reinterpret_cast<char *>(ids.data()) + idsAt),
          reinterpret_cast<const float *>(reinterpret_cast<char *>(weights.data()) + weightsAt),
          {out + outputAt, DType::BF16, 4, hidden});
    };
    CHECK(run(0, 0).ok());
    CHECK(run(32, 16).ok());
    CHECK(run(2, 0).ok() == (hidden == 44));
    CHECK(run(0, 8).ok() == (hidden == 44));
    for (const auto &[status, name] :
         {std::pair{run(1, 0), "hidden"}, {run(0, 1), "output"}, {run(0, 0, 2), "ids"}, {run(0, 0, 0, 2), "weights"}}) {
      CHECK(status.code() == Code::InvalidArgument);
      CHECK(status.message().find(fmt::format("layer 0: {} is at 0x", name)) == 0);
    }
  }
}

TEST_CASE("a forward that fails behind what leaves its counts still has its sample", "[cuda][samples][failures]") {
  const char *narrow = "fitted-16x64-s5-w1x4-b1", *wide = "fitted-192x256-s4-w2x1-b1";
  // Pairs whose counts combine leaves, down, and dispatch.
  for (const auto &[failing, tile] : {std::pair{7u, narrow}, {20u, narrow}, {20u, wide}}) {
    CudaBench bench;
    bench.mustOpen();
    bench.publish(tile, tile);
    CUstream stream = bench.cuda.stream();
    std::vector<std::pair<uint32_t, uint32_t>> seen; // tokens, and pairs of expert 0: as many
    bench.session->setObserver([&](const LayerObservation &step) { seen.emplace_back(step.tokens, step.pairs[0]); });
    REQUIRE(bench.step(stream, 1).ok());
    size_t calls = 0;
    {
      bench.cuda.forget();
      REQUIRE(bench.step(stream, failing).ok());
      calls = bench.cuda.calls().size();
    }
    bench.session->finish();
    seen.clear();
    for (uint64_t call = 1; call <= calls; ++call) {
      bench.cuda.failCall(call);
      (void)bench.step(stream, failing);
      bench.cuda.failCall(0);
      REQUIRE(bench.step(stream, 3).ok());
      bench.session->finish();
    }
    CHECK(std::count(seen.begin(), seen.end(), std::pair{3u, 3u}) == static_cast<long>(calls));
    CHECK(bench.session->stats().lostSamples == 0);
    for (const auto &[tokens, pairs] : seen) {
      CAPTURE(failing, tile, tokens, pairs);
      CHECK(tokens == pairs);
    }
  }
}

TEST_CASE("three graphs of a bucket are enough, though live and compared generation change between two refreshes",
          "[cuda][graphs]") {
  CudaBench bench([](SessionOptions &options) { options.maxGraphs = 3; });
  bench.mustOpen();
  auto driver = CudaDriver::open("cuda:0", bench.cuda.api());
  REQUIRE(driver.ok());
  auto runner = GraphRunner::make(*bench.session, *driver, {4},
                                  [&](Step &step, uint32_t tokens) { return forward(bench, step, tokens); });
  REQUIRE(runner.ok());
  GenerationHost &host = bench.session->host();
  std::vector<uint64_t> built;
  for (uint32_t i = 1; i < 4; ++i) {
    auto made = host.build({{0, bench.plan(i)}}, {}, {});
    REQUIRE(made.ok());
    built.push_back(made->generation);
  }
  REQUIRE(host.publish(built[0]).ok());
  REQUIRE(host.alternate(0, built[0], true).ok());
  REQUIRE((*runner)->refresh().ok());
  REQUIRE(host.publish(built[1]).ok());
  REQUIRE(host.alternate(built[1], built[2], true).ok());
  const Result<uint32_t> both = (*runner)->refresh();
  INFO(both.status().message());
  REQUIRE(both.ok());
  CHECK(*both == 2);
  std::map<uint64_t, int> runs;
  bench.session->setObserver([&](const LayerObservation &step) { ++runs[step.generation]; });
  CUstream stream = bench.cuda.stream();
  for (int i = 0; i < 4; ++i)
    REQUIRE((*runner)->launch(3, stream).ok());
  bench.session->finish();
  CHECK(runs == std::map<uint64_t, int>{{built[1], 2}, {built[2], 2}});
  REQUIRE(host.publish(built[2]).ok());
  REQUIRE(host.alternate(built[1], built[2], false).ok());
  CHECK(*(*runner)->refresh() == 0);
}

TEST_CASE("experts and groups beyond what kernels take are refused by the layer", "[cuda]") {
  LayerDescription many =
      describeLayer(3, {.hidden = 64, .intermediate = 24, .experts = 513, .topK = 2, .dtype = DType::BF16});
  CHECK(CudaBench({}, {many}).open().status().message() == "layer 3: GPU kernels take at most 512 experts, not 513");
  LayerDescription grouped =
      describeLayer(3, {.hidden = 64, .intermediate = 24, .experts = 128, .topK = 2, .dtype = DType::BF16});
  grouped.router.groups = 64;
  CHECK(CudaBench({}, {grouped}).open().status().message() ==
        "layer 3: GPU kernels take at most 32 groups of experts, not 64");
}

TEST_CASE("a board whose driver does not tell its memory's rate is served", "[cuda][facts]") {
  CudaBench bench([](SessionOptions &options) { options.calibrationSource = CalibrationSource::Assumed; });
  bench.cuda.model = "NVIDIA GB10", bench.cuda.major = 12, bench.cuda.minor = 1, bench.cuda.multiprocessors = 48;
  bench.cuda.memoryKhz = 0;
  bench.mustOpen();
  CHECK(bench.session->host().facts().gpu.memoryBytesPerNs > 0);
  CHECK(bench.step(bench.cuda.stream()).ok());
}
