#include "tests/gpu/Bench.h"

#include "compiler/core/CudaLaunch.h"
#include "runtime/device/cuda/GraphRunner.h"
#include "runtime/device/cuda/Memory.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <set>
#include <thread>

using namespace moec;
using namespace moec::gpu;

namespace {

constexpr uint64_t mebibyte = 1u << 20;

/// Builds, publishes and retires generations of ever other plans until told to stop or `count` are done.
void swapThrough(Bench &bench, const std::vector<LayerPlan> &plans, uint32_t count,
                 const std::function<void(uint64_t)> &swapped) {
  uint64_t before = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t generation = bench.build(plans[i % plans.size()]);
    REQUIRE(bench.session->host().publish(generation).ok());
    swapped(generation);
    if (before != 0)
      bench.session->host().retire(before);
    before = generation;
  }
}

} // namespace

TEST_CASE("every tile class computes the same bits as generation 0", "[swap][tiles]") {
  importer::ModelSpec halves = smallSpec();
  halves.shape.dtype = DType::F16;
  for (const importer::ModelSpec &spec : {smallSpec(), halves, joinedSpec(), e4m3Spec(), fewSpec(), e4m3FewSpec(),
                                          e4m3FewOneSpec(), e4m3FewJoinedSpec()}) {
    const DType dtype = spec.shape.dtype;
    Bench bench(spec);
    auto runner = HostRunner::make(*bench.session);
    REQUIRE(runner.ok());
    for (uint32_t tokens : {1u, 2u, 4u, 17u, 256u}) {
      std::vector<std::byte> hidden = randomHidden(spec.shape, tokens, tokens), expected(hidden.size()),
                             output(hidden.size());
      const ConstTensorView in{hidden.data(), dtype, tokens, spec.shape.hidden};
      REQUIRE(runner->forward(0, Phase::Decode, in, nullptr, {expected.data(), dtype, tokens, spec.shape.hidden}).ok());
      for (const LayerPlan &plan : bench.plans()) {
        const uint64_t generation = bench.build(plan);
        REQUIRE(bench.session->host().publish(generation).ok());
        REQUIRE(runner->forward(0, Phase::Decode, in, nullptr, {output.data(), dtype, tokens, spec.shape.hidden}).ok());
        INFO(plan.config.text() << " T=" << tokens);
        CHECK(std::memcmp(output.data(), expected.data(), output.size()) == 0);
        REQUIRE(bench.session->host().publish(0).ok());
        bench.session->host().retire(generation);
      }
    }
  }
}

TEST_CASE("steps of few tokens give the bits that these tokens have among others", "[swap][tiles]") {
  for (const importer::ModelSpec &spec : {fewSpec(), e4m3FewSpec(), e4m3FewOneSpec(), e4m3FewJoinedSpec()}) {
    const DType dtype = spec.shape.dtype;
    const size_t rowBytes = spec.shape.hidden * byteSize(dtype);
    Bench bench(spec);
    auto runner = HostRunner::make(*bench.session);
    REQUIRE(runner.ok());
    const std::vector<std::byte> hidden = randomHidden(spec.shape, 17, 17);
    const auto step = [&](uint32_t tokens) {
      std::vector<std::byte> output(tokens * rowBytes);
      REQUIRE(runner
                  ->forward(0, Phase::Decode, {hidden.data(), dtype, tokens, spec.shape.hidden}, nullptr,
                            {output.data(), dtype, tokens, spec.shape.hidden})
                  .ok());
      return output;
    };
    uint32_t numGateUpFew = 0, numDownFew = 0;
    for (const LayerPlan &plan : bench.plans()) {
      const uint64_t generation = bench.build(plan);
      REQUIRE(bench.session->host().publish(generation).ok());
      const std::vector<std::byte> all = step(17);
      const CudaConfig &config = plan.config.cuda;
      for (uint32_t tokens : {1u, 2u, 4u}) {
        INFO(plan.config.text() << " T=" << tokens);
        CHECK(std::memcmp(step(tokens).data(), all.data(), tokens * rowBytes) == 0);
        numGateUpFew += gateUpIsFew(spec.shape, tokens, config.gateUp, config.down);
        numDownFew += downIsFew(spec.shape, tokens, config.gateUp.family, config.down.family);
      }
      REQUIRE(bench.session->host().publish(0).ok());
      bench.session->host().retire(generation);
    }
    CHECK((numGateUpFew > 0) == !spec.e4m3Experts.empty());
    CHECK((numDownFew > 0) == (spec.shape.sharedIntermediate == 0));
  }
}

/// Layers, and tokens of a step: usually so many, or so few that these layers have kernels of their own for them.
struct Steps {
  importer::ModelSpec spec;
  uint32_t tokens;
};
constexpr int kinds = 6;
Steps stepsOf(int kind, uint32_t tokens) {
  switch (kind) {
  case 0: return {smallSpec(), tokens};
  case 1: return {e4m3Spec(), tokens};
  case 2: return {fewSpec(), kDownFewTokens};
  case 3: return {e4m3FewSpec(), kGateUpFewTokens};
  case 4: return {e4m3FewOneSpec(), kGateUpFewTokens};
  default: return {e4m3FewJoinedSpec(), kGateUpFewTokens};
  }
}

TEST_CASE("swaps beside steps on a stream change no bit and leave no memory", "[swap][streams]") {
  const Steps given = stepsOf(GENERATE(range(0, kinds)), 48);
  Bench bench(given.spec);
  const LayerShape &shape = bench.spec.shape;
  const std::vector<LayerPlan> plans = bench.plans();
  const std::shared_ptr<CudaDriver> driver = driverOf();
  auto runner = HostRunner::make(*bench.session);
  REQUIRE(runner.ok());
  const uint32_t tokens = given.tokens;
  std::vector<std::byte> hidden = randomHidden(shape, tokens, 3), expected(hidden.size()), output(hidden.size());
  const ConstTensorView in{hidden.data(), shape.dtype, tokens, shape.hidden};
  REQUIRE(runner->forward(0, Phase::Decode, in, nullptr, {expected.data(), shape.dtype, tokens, shape.hidden}).ok());
  swapThrough(bench, plans, static_cast<uint32_t>(plans.size()), [](uint64_t) {}); // every kernel is loaded once
  bench.session->finish();
  const uint64_t before = freeBytes(*driver);

  std::atomic<bool> done{false};
  std::thread swapper([&] {
    swapThrough(bench, plans, swaps(200), [](uint64_t) {});
    done = true;
  });
  uint64_t steps = 0, mismatches = 0, failures = 0;
  while (!done) {
    failures +=
        !runner->forward(0, Phase::Decode, in, nullptr, {output.data(), shape.dtype, tokens, shape.hidden}).ok();
    mismatches += std::memcmp(output.data(), expected.data(), output.size()) != 0;
    ++steps;
  }
  swapper.join();
  bench.session->finish();
  const uint64_t after = freeBytes(*driver);
  std::printf("%u swaps beside %llu steps: %llu mismatches, device memory %+lld bytes\n", swaps(200),
              static_cast<unsigned long long>(steps), static_cast<unsigned long long>(mismatches),
              static_cast<long long>(before) - static_cast<long long>(after));
  CHECK(mismatches == 0);
  CHECK(failures == 0);
  CHECK(steps > 0);
  CHECK(before <= after + mebibyte);
}

TEST_CASE("swaps beside captured graphs change no bit and leave no memory", "[swap][graphs]") {
  constexpr uint32_t perGraph = 3;
  const Steps given = stepsOf(GENERATE(range(0, kinds)), 16);
  const uint32_t tokens = given.tokens;
  Bench bench(given.spec, [&](SessionOptions &options) {
    options.maxGraphs = 6;
    options.maxGraphTokens = tokens;
  });
  const LayerShape &shape = bench.spec.shape;
  const std::vector<LayerPlan> plans = bench.plans();
  const std::shared_ptr<CudaDriver> driver = driverOf();
  std::vector<std::byte> hidden = randomHidden(shape, tokens, 5), expected(hidden.size());
  {
    auto runner = HostRunner::make(*bench.session);
    REQUIRE(runner.ok());
    REQUIRE(runner
                ->forward(0, Phase::Decode, {hidden.data(), shape.dtype, tokens, shape.hidden}, nullptr,
                          {expected.data(), shape.dtype, tokens, shape.hidden})
                .ok());
  }
  ContextScope scope(*driver);
  const DeviceMemory memory(driver, {});
  auto input = memory.allocate(hidden.size(), "input"), output = memory.allocate(hidden.size(), "output");
  auto found = PinnedBuffer::allocate(driver, hidden.size(), "output");
  auto stream = makeStream(driver);
  REQUIRE((input.ok() && output.ok() && found.ok() && stream.ok()));
  const CudaApi &api = driver->api();
  REQUIRE(api.cuMemcpyHtoDAsyncFn(input->address(), hidden.data(), hidden.size(), stream->get()) == CUDA_SUCCESS);

  auto record = [&](Step &step, uint32_t count) -> Status {
    for (uint32_t i = 0; i < perGraph; ++i)
      if (Status status = step.layer(0).forward({input->as<void>(), shape.dtype, count, shape.hidden},
                                                {output->as<void>(), shape.dtype, count, shape.hidden});
          !status.ok())
        return status;
    return {};
  };
  auto graphs = GraphRunner::make(*bench.session, driver, {tokens}, record);
  INFO(graphs.status().message());
  REQUIRE(graphs.ok());
  const auto refresh = [&](uint64_t) {
    for (int tries = 0;; ++tries) { // slots come back once the driver has let go of old graphs
      Result<uint32_t> captured = (*graphs)->refresh();
      if (captured.ok())
        return;
      INFO(captured.status().message());
      REQUIRE(captured.status().code() == Code::ResourceExhausted);
      REQUIRE(tries < 1000);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  swapThrough(bench, plans, static_cast<uint32_t>(plans.size()), refresh);
  bench.session->finish();
  const uint64_t before = freeBytes(*driver);

  std::atomic<bool> done{false};
  std::thread swapper([&] {
    swapThrough(bench, plans, swaps(1000), refresh);
    done = true;
  });
  uint64_t launches = 0, mismatches = 0, failures = 0;
  while (!done) {
    failures += api.cuMemsetD8AsyncFn(output->address(), 0xff, hidden.size(), stream->get()) != CUDA_SUCCESS;
    failures += !(*graphs)->launch(tokens, stream->get()).ok();
    failures += api.cuMemcpyDtoHAsyncFn(found->data(), output->address(), hidden.size(), stream->get()) != CUDA_SUCCESS;
    failures += api.cuStreamSynchronizeFn(stream->get()) != CUDA_SUCCESS;
    mismatches += std::memcmp(found->data(), expected.data(), hidden.size()) != 0;
    ++launches;
  }
  swapper.join();
  bench.session->finish();
  const uint64_t after = freeBytes(*driver);
  std::printf("%u swaps beside %llu graph launches: %llu mismatches, %llu failures, device memory %+lld bytes\n",
              swaps(1000), static_cast<unsigned long long>(launches), static_cast<unsigned long long>(mismatches),
              static_cast<unsigned long long>(failures),
              static_cast<long long>(before) - static_cast<long long>(after));
  CHECK(mismatches == 0);
  CHECK(failures == 0);
  CHECK(launches > 0);
  CHECK(before <= after + mebibyte);
}

TEST_CASE("steps of one layer that run at once change no bit, whatever the tiles", "[concurrent]") {
  constexpr uint32_t numThreads = 3, steps = 100;
  const Steps given = stepsOf(GENERATE(range(0, kinds)), 48);
  const uint32_t tokens = given.tokens;
  Bench bench(given.spec, [](SessionOptions &options) { options.maxSteps = numThreads; });
  const LayerShape &shape = bench.spec.shape;
  std::vector<std::vector<std::byte>> hidden, expected;
  {
    auto runner = HostRunner::make(*bench.session);
    REQUIRE(runner.ok());
    for (uint32_t i = 0; i < numThreads; ++i) {
      hidden.push_back(randomHidden(shape, tokens, 20 + i));
      expected.emplace_back(hidden[i].size());
      REQUIRE(runner
                  ->forward(0, Phase::Decode, {hidden[i].data(), shape.dtype, tokens, shape.hidden}, nullptr,
                            {expected[i].data(), shape.dtype, tokens, shape.hidden})
                  .ok());
    }
  }
  for (const LayerPlan &plan : bench.plans()) {
    if (plan.config.cuda.gateUp != plan.config.cuda.down)
      continue;
    const uint64_t generation = bench.build(plan);
    REQUIRE(bench.session->host().publish(generation).ok());
    std::atomic<uint32_t> mismatches{0}, failures{0};
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < numThreads; ++i)
      threads.emplace_back([&, i] {
        auto runner = HostRunner::make(*bench.session);
        std::vector<std::byte> output(hidden[i].size());
        for (uint32_t step = 0; runner.ok() && step < steps; ++step) {
          failures += !runner
                           ->forward(0, Phase::Decode, {hidden[i].data(), shape.dtype, tokens, shape.hidden}, nullptr,
                                     {output.data(), shape.dtype, tokens, shape.hidden})
                           .ok();
          mismatches += std::memcmp(output.data(), expected[i].data(), output.size()) != 0;
        }
        failures += !runner.ok();
      });
    for (std::thread &thread : threads)
      thread.join();
    INFO(plan.config.text());
    CHECK(mismatches == 0);
    CHECK(failures == 0);
    REQUIRE(bench.session->host().publish(0).ok());
    bench.session->host().retire(generation);
  }
}

TEST_CASE("steps of many pairs that run at once compute what steps of few tokens do", "[concurrent]") {
  // 8,192 pairs are dispatched by blocks that wait for each other; 512 by one.
  constexpr uint32_t numThreads = 3, tokens = 2048, few = 128, steps = 50;
  Bench bench(smallSpec(), [](SessionOptions &options) {
    options.maxTokens = tokens;
    options.maxSteps = numThreads;
  });
  const LayerShape &shape = bench.spec.shape;
  const std::vector<std::byte> hidden = randomHidden(shape, tokens, 31);
  std::vector<std::byte> expected(hidden.size());
  {
    auto runner = HostRunner::make(*bench.session);
    REQUIRE(runner.ok());
    const uint64_t bytes = hidden.size() / tokens * few;
    for (uint64_t at = 0; at < hidden.size(); at += bytes)
      REQUIRE(runner
                  ->forward(0, Phase::Decode, {hidden.data() + at, shape.dtype, few, shape.hidden}, nullptr,
                            {expected.data() + at, shape.dtype, few, shape.hidden})
                  .ok());
  }
  std::atomic<uint32_t> mismatches{0}, failures{0};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < numThreads; ++i)
    threads.emplace_back([&] {
      auto runner = HostRunner::make(*bench.session);
      std::vector<std::byte> output(hidden.size());
      for (uint32_t step = 0; runner.ok() && step < steps; ++step) {
        failures += !runner
                         ->forward(0, Phase::Prefill, {hidden.data(), shape.dtype, tokens, shape.hidden}, nullptr,
                                   {output.data(), shape.dtype, tokens, shape.hidden})
                         .ok();
        mismatches += std::memcmp(output.data(), expected.data(), output.size()) != 0;
      }
      failures += !runner.ok();
    });
  for (std::thread &thread : threads)
    thread.join();
  CHECK(mismatches == 0);
  CHECK(failures == 0);
}

TEST_CASE("counts and times of steps arrive at the observer", "[samples]") {
  Bench bench(smallSpec());
  const LayerShape &shape = bench.spec.shape;
  std::atomic<uint64_t> seen{0}, timed{0}, wrong{0};
  bench.session->setObserver([&](const LayerObservation &forward) {
    uint64_t pairs = 0;
    for (uint32_t count : forward.pairs)
      pairs += count;
    wrong +=
        pairs != uint64_t{forward.tokens} * shape.topK || forward.layer != 0 || forward.pairs.size() != shape.experts;
    timed += forward.layerNs > 0;
    ++seen;
  });
  auto runner = HostRunner::make(*bench.session);
  REQUIRE(runner.ok());
  constexpr uint32_t steps = 200;
  for (uint32_t i = 0; i < steps; ++i) {
    const uint32_t tokens = 1 + i % 64;
    std::vector<std::byte> hidden = randomHidden(shape, tokens, i), output(hidden.size());
    REQUIRE(runner
                ->forward(0, i % 2 ? Phase::Prefill : Phase::Decode, {hidden.data(), shape.dtype, tokens, shape.hidden},
                          nullptr, {output.data(), shape.dtype, tokens, shape.hidden})
                .ok());
  }
  bench.session->finish();
  const SessionStats stats = bench.session->stats();
  std::printf("%llu of %u steps observed, %llu of them timed, %.1f us on average\n",
              static_cast<unsigned long long>(seen.load()), steps, static_cast<unsigned long long>(timed.load()),
              static_cast<double>(stats.forwardNs) / std::max<double>(1, static_cast<double>(stats.timedForwards)) /
                  1000);
  CHECK(seen + stats.lostSamples == steps);
  CHECK(seen >= steps / 2);
  CHECK(timed > 0);
  CHECK(wrong == 0);
  CHECK(stats.nonFiniteLogits == 0);
}
