#include "tests/unit/cuda/CudaBench.h"

#include "compiler/core/CudaLaunch.h"

#include <algorithm>

using namespace moec;
using namespace moec::test;

namespace {

struct Told final : LaunchWatch {
  std::vector<std::string> kernels;
  uint64_t launchesAtBegin = 0;
  bool paired = true;
  FakeCuda *cuda = nullptr;

  void begins(const char *kernel, void *) override {
    kernels.push_back(kernel);
    launchesAtBegin = cuda->count("cuLaunchKernelEx");
  }
  void ends(const char *kernel, void *) override {
    paired &= kernels.back() == kernel && cuda->count("cuLaunchKernelEx") == launchesAtBegin + 1;
  }
};

} // namespace

TEST_CASE("a launch watch is told of every kernel of a forward, and of no validation's", "[cuda][watch]") {
  const auto told = std::make_shared<Told>();
  LayerDescription layer = describeLayer(
      0, {.hidden = 48, .intermediate = 24, .experts = 6, .topK = 2, .dtype = DType::BF16, .sharedIntermediate = 16});
  CudaBench bench([&](SessionOptions &options) { options.launchWatch = told; }, {layer});
  told->cuda = &bench.cuda;
  bench.mustOpen();
  REQUIRE(bench.session->host().build({{0, bench.plan(1)}}, {}, {}).ok());
  CHECK(told->kernels.empty());
  bench.publish("fitted-192x256-s4-w2x1-b1", "fitted-192x256-s4-w2x1-b1");
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  CHECK(told->kernels == std::vector<std::string>{"router", "route", "dispatch, by a cluster", "gate-up", "down",
                                                  "shared-gate-up", "shared-down", "combine"});
  CHECK(told->paired);
}

TEST_CASE("a cluster dispatches as many pairs as it takes, and no more", "[cuda][watch]") {
  constexpr uint32_t most = dispatchClusterPairs(dispatchConfigOf(8)) / 2; // tokens, of two experts
  const auto told = std::make_shared<Told>();
  CudaBench bench([&](SessionOptions &options) {
    options.launchWatch = told;
    options.maxTokens = most + 1;
  });
  told->cuda = &bench.cuda;
  bench.mustOpen();
  for (auto [tokens, name] :
       {std::pair{most, "dispatch, by a cluster"}, std::pair{most + 1, "dispatch, by many blocks"}}) {
    told->kernels.clear();
    REQUIRE(bench.step(bench.cuda.stream(), tokens).ok());
    CHECK(std::ranges::count(told->kernels, name) == 1);
  }
}

TEST_CASE("blocks that form no clusters dispatch without", "[cuda][watch]") {
  const auto told = std::make_shared<Told>();
  CudaBench bench([&](SessionOptions &options) { options.launchWatch = told; });
  told->cuda = &bench.cuda;
  bench.cuda.model = "NVIDIA A100-SXM4-80GB", bench.cuda.major = 8, bench.cuda.multiprocessors = 108,
  bench.cuda.memoryKhz = 1'593'000;
  bench.mustOpen();
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  CHECK(std::ranges::count(told->kernels, "dispatch") == 1);
}
