// Sessions on a GPU as far as no GPU is needed: what is called, and what becomes of failures.
#include "compiler/core/CudaLaunch.h"
#include "tests/unit/cuda/CudaBench.h"

#include "runtime/device/cuda/Facts.h"
#include "runtime/device/cuda/GraphRunner.h"

#include <algorithm>
#include <chrono>
#include <thread>

using namespace moec;
using namespace moec::test;

namespace {

bool isOneOf(const std::string &call, std::initializer_list<const char *> calls) {
  return std::find(calls.begin(), calls.end(), call) != calls.end();
}

template <typename Condition> bool soon(Condition condition) {
  const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes(1); // the watcher's turn may be far off
  while (!condition() && std::chrono::steady_clock::now() < patience)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return condition();
}

} // namespace

TEST_CASE("a step on a GPU only queues: no waiting, no memory, no loading", "[cuda]") {
  CudaBench bench;
  bench.mustOpen();
  CUstream stream = bench.cuda.stream(), other = bench.cuda.stream();
  REQUIRE(bench.step(stream).ok());
  bench.cuda.forget();
  for (int i = 0; i < 5; ++i) {
    REQUIRE(bench.step(stream).ok());
    REQUIRE(bench.step(other).ok());
  }
  for (const std::string &call : bench.cuda.calls()) {
    INFO(call);
    CHECK(isOneOf(call, {"cuCtxGetCurrent", "cuCtxPushCurrent", "cuCtxPopCurrent", "cuStreamGetCaptureInfo",
                         "cuStreamWaitEvent", "cuEventRecord", "cuEventRecordWithFlags", "cuLaunchKernelEx",
                         "cuMemcpy2DAsync", "cuEventQuery"}));
  }
  // Router, route, gate-up, down, combine; hidden of 44 is padded, so rows are copied in and out.
  CHECK(bench.cuda.count("cuLaunchKernelEx") == 10 * 5);
  CHECK(bench.cuda.count("cuMemcpy2DAsync") == 10 * 2);
  // Each joins the step before in the same buffers, on the device.
  CHECK(bench.cuda.count("cuStreamWaitEvent") == 10);
}

TEST_CASE("a step joins the one before in its buffers even where both name their stream alike", "[cuda]") {
  CudaBench bench([](SessionOptions &options) { options.maxSteps = 1; });
  bench.mustOpen();
  const CudaApi &api = *bench.cuda.api();
  bench.cuda.hold(CU_STREAM_PER_THREAD, true); // this thread's
  REQUIRE(bench.step(CU_STREAM_PER_THREAD).ok());
  Status status;
  CUresult ended = CUDA_SUCCESS;
  std::thread([&] {
    status = bench.step(CU_STREAM_PER_THREAD);
    CUevent behind = nullptr;
    (void)api.cuEventCreateFn(&behind, CU_EVENT_DISABLE_TIMING);
    (void)api.cuEventRecordFn(behind, CU_STREAM_PER_THREAD);
    ended = api.cuEventQueryFn(behind);
    (void)api.cuEventDestroyFn(behind);
  }).join();
  INFO(status.message());
  CHECK(status.ok());
  CHECK(ended == CUDA_ERROR_NOT_READY);
  bench.cuda.hold(CU_STREAM_PER_THREAD, false);
}

TEST_CASE("many pairs are dispatched in one launch, where all that may run at once fit the GPU", "[cuda]") {
  // 32,768 pairs, more than a cluster takes: 32 blocks that wait for each other. 132 multiprocessors have room for
  // those of three steps and a validation.
  for (auto [maxSteps, launches] : {std::pair{3u, 6u}, std::pair{4u, 8u}}) {
    CudaBench bench([steps = maxSteps](SessionOptions &options) {
      options.maxTokens = 16384;
      options.maxSteps = steps;
    });
    bench.mustOpen();
    std::vector<uint32_t> pairs;
    bench.session->setObserver(
        [&](const LayerObservation &forward) { pairs.assign(forward.pairs.begin(), forward.pairs.end()); });
    bench.cuda.forget();
    REQUIRE(bench.step(bench.cuda.stream(), 16384, Phase::Prefill).ok());
    CHECK(bench.cuda.count("cuLaunchKernelEx") == launches);
    bench.session->finish();
    CHECK(pairs == std::vector<uint32_t>{16384, 16384, 0, 0, 0, 0});
  }
}

TEST_CASE("building, publishing and retiring beside a busy stream waits for nothing", "[cuda][swap]") {
  CudaBench bench;
  bench.mustOpen();
  GenerationHost &host = bench.session->host();
  CUstream stream = bench.cuda.stream();
  bench.cuda.hold(stream, true);
  REQUIRE(bench.step(stream).ok()); // stays on the device
  bench.cuda.forget();
  uint64_t before = 0;
  for (uint32_t i = 1; i <= 3; ++i) {
    auto built = host.build({{0, bench.plan(i)}}, {}, {});
    INFO(built.status().message());
    REQUIRE(built.ok());
    CHECK(built->validateError == 0);
    REQUIRE(host.publish(built->generation).ok());
    REQUIRE(bench.step(stream).ok());
    if (before)
      host.retire(before);
    before = built->generation;
  }
  for (const char *call : {"cuStreamSynchronize", "cuMemAlloc", "cuMemFree", "cuMemHostAlloc", "cuMemFreeHost",
                           "cuLibraryUnload", "cuDevicePrimaryCtxRelease"}) {
    INFO(call);
    CHECK(bench.cuda.count(call) == 0);
  }
  bench.cuda.hold(stream, false);
}

TEST_CASE("what a step still runs on outlives its retirement", "[cuda][swap]") {
  CudaBench bench;
  bench.mustOpen();
  GenerationHost &host = bench.session->host();
  CUstream stream = bench.cuda.stream();
  auto first = host.build({{0, bench.plan(1)}}, {}, {});
  REQUIRE(first.ok());
  REQUIRE(host.publish(first->generation).ok());
  bench.cuda.hold(stream, true);
  REQUIRE(bench.step(stream).ok());
  const size_t held = bench.cuda.outstanding();
  REQUIRE(host.publish(0).ok());
  host.retire(first->generation);
  // An event marks the ends of the steps so far; it goes, with the generation, once they are done.
  CHECK(soon([&] { return bench.cuda.outstanding() == held + 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(bench.cuda.outstanding() == held + 1);
  bench.cuda.hold(stream, false);
  CHECK(soon([&] { return bench.cuda.outstanding() == held; }));
}

TEST_CASE("every failing call of opening is named, and nothing is left behind", "[cuda][failures]") {
  uint64_t failures = 0;
  for (uint64_t call = 1;; ++call) {
    CudaBench bench([](SessionOptions &options) { options.maxGraphs = 1; });
    bench.cuda.failCall(call);
    Result<Session> opened = bench.open();
    if (!bench.cuda.failed()) {
      CHECK(opened.ok());
      break;
    }
    ++failures;
    INFO("call " << call << ", " << bench.cuda.failedName() << ": " << opened.status().message());
    if (opened.ok()) { // the watcher does without: what it calls next fails by itself, and only samples are lost
      CHECK(bench.cuda.failedName() == "cuCtxPushCurrent");
      CHECK(bench.cuda.failedThread() != std::this_thread::get_id());
    } else {
      CHECK(opened.status().message().find(bench.cuda.failedName()) != std::string::npos);
      CHECK(opened.status().message().find("CUDA_ERROR_UNKNOWN") != std::string::npos);
    }
    {
      Result<Session> gone = std::move(opened);
    }
    CHECK(bench.cuda.outstanding() == 0);
  }
  CHECK(failures > 50);
}

TEST_CASE("after every failing call of a build the old generation still serves", "[cuda][failures]") {
  uint64_t failures = 0;
  for (uint64_t call = 1;; ++call) {
    CudaBench bench;
    bench.mustOpen();
    CUstream stream = bench.cuda.stream();
    bench.cuda.failCall(call);
    auto built = bench.session->host().build({{0, bench.plan(3)}}, {}, {});
    const bool failed = bench.cuda.failed();
    bench.cuda.failCall(0);
    INFO("call " << call << ", " << bench.cuda.failedName() << ": " << built.status().message());
    CHECK(bench.step(stream).ok());
    CHECK(bench.session->liveGeneration() == 0);
    auto again = bench.session->host().build({{0, bench.plan(3)}}, {}, {});
    CHECK(again.ok());
    bench.session.reset();
    CHECK(bench.cuda.outstanding() == 0);
    if (!failed) {
      CHECK(built.ok());
      break;
    }
    ++failures;
    if (bench.cuda.failedThread() == std::this_thread::get_id())
      CHECK(built.status().message().find(bench.cuda.failedName()) != std::string::npos);
    else
      CHECK(built.ok()); // the watcher's call: it does without
  }
  CHECK(failures > 20);
}

TEST_CASE("a launch that fails is the step's error, and a lost device says so", "[cuda][failures]") {
  CudaBench bench;
  bench.mustOpen();
  CUstream stream = bench.cuda.stream();
  REQUIRE(bench.step(stream).ok());
  for (CUresult result : {CUDA_ERROR_UNKNOWN, CUDA_ERROR_ILLEGAL_ADDRESS}) {
    auto step = bench.session->begin({.tokens = 4, .stream = stream});
    REQUIRE(step.ok());
    bench.cuda.failCall(
        3, result,
        std::this_thread::get_id()); // not the watcher's; behind the record of the layer's start or the first copies
    Status status =
        step->layer(0).forward({bench.hidden.data(), DType::BF16, 4, 44}, {bench.output.data(), DType::BF16, 4, 44});
    CHECK(status.code() == (result == CUDA_ERROR_UNKNOWN ? Code::Failure : Code::DeviceLost));
    CHECK(status.message().find("layer 0") != std::string::npos);
  }
  CHECK(bench.step(stream).ok());
}

TEST_CASE("a kernel that computes something else does not go live", "[cuda][swap]") {
  CudaBench bench;
  bench.mustOpen();
  bench.compiler.wrongFrom = 1;
  auto built = bench.session->host().build({{0, bench.plan(2)}}, {}, {});
  CHECK(built.status().code() == Code::VerificationMismatch);
  CHECK(built.status().message().find("layer 0") != std::string::npos);
  CHECK(bench.session->liveGeneration() == 0);
}

TEST_CASE("counts arrive with what was known of their step", "[cuda][samples]") {
  CudaBench bench;
  bench.mustOpen();
  struct Seen {
    uint32_t tokens;
    Phase phase;
    uint64_t generation, ns;
    std::vector<uint32_t> pairs;
  };
  std::vector<Seen> seen;
  std::mutex mutex;
  bench.session->setObserver([&](const LayerObservation &forward) {
    const std::lock_guard lock(mutex);
    seen.push_back({forward.tokens,
                    forward.phase,
                    forward.generation,
                    forward.layerNs,
                    {forward.pairs.begin(), forward.pairs.end()}});
  });
  CUstream stream = bench.cuda.stream();
  auto built = bench.session->host().build({{0, bench.plan(1)}}, {}, {});
  REQUIRE(built.ok());
  REQUIRE(bench.step(stream, 3, Phase::Decode).ok());
  REQUIRE(bench.session->host().publish(built->generation).ok());
  REQUIRE(bench.step(stream, 40, Phase::Prefill).ok());
  bench.session->finish();
  const std::lock_guard lock(mutex);
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].tokens == 3);
  CHECK(seen[0].generation == 0);
  CHECK(seen[0].ns == 250'000);                                    // the first of a lane is timed
  CHECK(seen[0].pairs == std::vector<uint32_t>{3, 3, 0, 0, 0, 0}); // the fake routes everybody to experts 0 and 1
  CHECK(seen[1].tokens == 40);
  CHECK(seen[1].phase == Phase::Prefill);
  CHECK(seen[1].generation == built->generation);
  CHECK(seen[1].ns == 0);
  CHECK(bench.session->stats().forwards == 2);
  CHECK(bench.session->stats().lostSamples == 0);
}

TEST_CASE("a full ring loses the oldest samples and counts them", "[cuda][samples]") {
  CudaBench bench;
  bench.mustOpen();
  std::atomic<uint64_t> seen{0};
  CUstream stream = bench.cuda.stream();
  bench.session->setObserver([&](const LayerObservation &) { ++seen; });
  constexpr uint64_t steps = 500; // a ring holds 32
  for (uint64_t i = 0; i < steps; ++i)
    REQUIRE(bench.step(stream).ok());
  bench.session->finish();
  const SessionStats stats = bench.session->stats();
  CHECK(seen + stats.lostSamples == steps);
  CHECK(stats.forwards == steps);
}

TEST_CASE("while two generations are compared every forward is timed", "[cuda][samples]") {
  CudaBench bench;
  bench.mustOpen();
  std::atomic<uint64_t> timed{0}, seen{0};
  bench.session->setObserver([&](const LayerObservation &forward) { ++seen, timed += forward.layerNs > 0; });
  auto built = bench.session->host().build({{0, bench.plan(1)}}, {}, {});
  REQUIRE(built.ok());
  REQUIRE(bench.session->host().publish(built->generation).ok());
  REQUIRE(bench.session->host().alternate(0, built->generation, true).ok());
  CUstream stream = bench.cuda.stream();
  for (int i = 0; i < 8; ++i) {
    REQUIRE(bench.step(stream).ok());
    bench.session->finish();
  }
  CHECK(seen == 8);
  CHECK(timed == 8);
}

TEST_CASE("a captured step keeps its generation and its buffers until the graph goes", "[cuda][graphs]") {
  CudaBench bench([](SessionOptions &options) { options.maxGraphs = 1; });
  bench.mustOpen();
  const CudaApi &api = *bench.cuda.api();
  CUstream stream = bench.cuda.stream();
  auto built = bench.session->host().build({{0, bench.plan(1)}}, {}, {});
  REQUIRE(built.ok());
  REQUIRE(bench.session->host().publish(built->generation).ok());
  std::atomic<uint64_t> seen{0}, wrong{0};
  const uint64_t generation = built->generation;
  bench.session->setObserver(
      [&](const LayerObservation &forward) { ++seen, wrong += forward.generation != generation; });

  CUgraph graph = nullptr;
  REQUIRE(api.cuStreamBeginCaptureFn(stream, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
  CHECK(bench.step(stream, 17).code() == Code::ResourceExhausted); // more than maxGraphTokens
  REQUIRE(bench.step(stream, 16).ok());
  CHECK(bench.step(stream, 16).code() == Code::ResourceExhausted); // the only graph slot is taken
  REQUIRE(api.cuStreamEndCaptureFn(stream, &graph) == CUDA_SUCCESS);
  CUgraphExec exec = nullptr;
  REQUIRE(api.cuGraphInstantiateWithFlagsFn(&exec, graph, 0) == CUDA_SUCCESS);
  REQUIRE(api.cuGraphDestroyFn(graph) == CUDA_SUCCESS);

  REQUIRE(bench.session->host().publish(0).ok());
  bench.session->host().retire(generation);
  for (int i = 0; i < 3; ++i)
    REQUIRE(api.cuGraphLaunchFn(exec, stream) == CUDA_SUCCESS);
  bench.session->finish();
  CHECK(seen == 3);
  CHECK(wrong == 0);
  const size_t held = bench.cuda.outstanding();
  REQUIRE(api.cuGraphExecDestroyFn(exec) == CUDA_SUCCESS);
  CHECK(bench.cuda.outstanding() == held - 2); // the exec and its user object
  // The slot is free again.
  REQUIRE(api.cuStreamBeginCaptureFn(stream, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
  CHECK(bench.step(stream, 16).ok());
  REQUIRE(api.cuStreamEndCaptureFn(stream, &graph) == CUDA_SUCCESS);
  REQUIRE(api.cuGraphDestroyFn(graph) == CUDA_SUCCESS);
}

TEST_CASE("many pairs are dispatched in one launch, in a graph in three", "[cuda][graphs]") {
  constexpr uint32_t tokens = dispatchClusterPairs(dispatchConfigOf(8)) / 2 + 1; // of two experts
  CudaBench bench([](SessionOptions &options) {
    options.maxGraphs = 1;
    options.maxTokens = options.maxGraphTokens = tokens;
  });
  bench.mustOpen();
  bench.hidden.resize(size_t{tokens} * 44);
  bench.output.resize(size_t{tokens} * 44);
  CUstream stream = bench.cuda.stream();
  bench.cuda.forget();
  REQUIRE(bench.step(stream, tokens).ok());
  const uint64_t onStream = bench.cuda.count("cuLaunchKernelEx");
  CHECK(bench.cuda.lastDispatch().numBlocks == dispatchGridBlocks(2 * tokens, 132));
  CHECK(bench.cuda.lastDispatch().gridBarrier != nullptr);

  const CudaApi &api = *bench.cuda.api();
  CUgraph graph = nullptr;
  bench.cuda.forget();
  REQUIRE(api.cuStreamBeginCaptureFn(stream, CU_STREAM_CAPTURE_MODE_GLOBAL) == CUDA_SUCCESS);
  REQUIRE(bench.step(stream, tokens).ok());
  REQUIRE(api.cuStreamEndCaptureFn(stream, &graph) == CUDA_SUCCESS);
  CHECK(bench.cuda.count("cuLaunchKernelEx") == onStream + 2);
  CHECK(bench.cuda.lastDispatch().gridBarrier == nullptr);
  REQUIRE(api.cuGraphDestroyFn(graph) == CUDA_SUCCESS);
}

TEST_CASE("a graph runner follows the live generation, and alternates when the session does", "[cuda][graphs]") {
  CudaBench bench([](SessionOptions &options) { options.maxGraphs = 6; });
  bench.mustOpen();
  auto driver = CudaDriver::open("cuda:0", bench.cuda.api());
  REQUIRE(driver.ok());
  CUstream stream = bench.cuda.stream();
  std::map<uint64_t, int> runs;
  bench.session->setObserver([&](const LayerObservation &forward) { ++runs[forward.generation]; });
  auto record = [&](Step &step, uint32_t tokens) {
    return step.layer(0).forward({bench.hidden.data(), DType::BF16, tokens, 44},
                                 {bench.output.data(), DType::BF16, tokens, 44});
  };
  {
    auto runner = GraphRunner::make(*bench.session, *driver, {16, 4}, record);
    INFO(runner.status().message());
    REQUIRE(runner.ok());
    CHECK((*runner)->launch(17, stream).code() == Code::ResourceExhausted);
    REQUIRE((*runner)->launch(3, stream).ok());
    bench.session->finish();
    CHECK(runs == std::map<uint64_t, int>{{0, 1}});

    auto built = bench.session->host().build({{0, bench.plan(1)}}, {}, {});
    REQUIRE(built.ok());
    REQUIRE(bench.session->host().publish(built->generation).ok());
    REQUIRE(bench.session->host().alternate(0, built->generation, true).ok());
    CHECK(*(*runner)->refresh() == 2); // one more graph a bucket
    for (int i = 0; i < 6; ++i)
      REQUIRE((*runner)->launch(3, stream).ok());
    bench.session->finish();
    CHECK(runs == std::map<uint64_t, int>{{0, 4}, {built->generation, 3}});
    REQUIRE(bench.session->host().alternate(0, built->generation, false).ok());
    CHECK(*(*runner)->refresh() == 0);
    for (int i = 0; i < 3; ++i)
      REQUIRE((*runner)->launch(3, stream).ok());
    bench.session->finish();
    CHECK(runs == std::map<uint64_t, int>{{0, 4}, {built->generation, 6}});
  }
  bench.session.reset();
  driver->reset();
  CHECK(bench.cuda.outstanding() == 0);
}

TEST_CASE("devices are chosen by name, and facts are the card's", "[cuda][facts]") {
  FakeCuda cuda;
  for (const char *bad : {"cuda:", "cuda:x", "cuda:-1", "cuda0", "cuda:1x"})
    CHECK(CudaDriver::open(bad, cuda.api()).status().code() == Code::InvalidArgument);
  CHECK(CudaDriver::open("cuda:1", cuda.api()).status().message() == "device cuda:1: this machine has 1 GPU");
  CHECK(CudaDriver::open("cuda:1", cuda.api()).status().code() == Code::DeviceMissing);
  auto driver = CudaDriver::open("cuda", cuda.api());
  REQUIRE(driver.ok());
  CHECK(*cudaFacts(**driver) == *targetByName("h100", {}));

  cuda.model = "NVIDIA H100 PCIe", cuda.multiprocessors = 114, cuda.memoryKhz = 1'000'000, cuda.busBits = 4000;
  auto cut = cudaFacts(**CudaDriver::open("cuda:0", cuda.api()));
  REQUIRE(cut.ok());
  CHECK(cut->arch == "sm_90a");
  CHECK(cut->gpu.multiprocessors == 114);
  CHECK(cut->gpu.memoryBytesPerNs == Approx(1000)); // 1 GHz, two transfers a clock, 4,000 bits

  cuda.model = "Some card", cuda.major = 8, cuda.minor = 6;
  CHECK(cudaFacts(**CudaDriver::open("cuda:0", cuda.api()))->arch == "sm_86");
  cuda.major = 7;
  CHECK(cudaFacts(**CudaDriver::open("cuda:0", cuda.api())).status().code() == Code::DeviceMissing);
}

TEST_CASE("a target's compute capability is read from its architecture", "[cuda][facts]") {
  for (auto [name, major] : {std::pair{"cpu", 0u}, std::pair{"a100", 8u}, std::pair{"l40s", 8u},
                             std::pair{"sm_90a", 9u}, std::pair{"b200", 10u}, std::pair{"sm_120", 12u}})
    CHECK(computeMajor(targetByName(name, {})->arch) == major);
  CHECK(std::string(dispatchSteps("sm_90a").back()) == "Cluster");
  CHECK(std::string(dispatchSteps("sm_120").back()) == "Cluster");
  CHECK(std::string(dispatchSteps("sm_89").back()) == "Grid");
}

TEST_CASE("a card has its name's facts where its memory is that name's too", "[cuda][facts]") {
  struct Card {
    const char *model, *target; // null: none of ours
    int major, minor, multiprocessors, memoryKhz, busBits;
    double gbs; // expected
    bool fitted;
  };
  // Clocks and widths that give about the rate of each board's data sheet.
  for (const Card &card : {
           Card{"NVIDIA H100 80GB HBM3", "h100", 9, 0, 132, 2'619'000, 5120, 3350, true},
           Card{"NVIDIA H100 80GB HBM3", "h100", 9, 0, 132, 0, 0, 3350, true}, // a driver that does not tell
           Card{"NVIDIA H100 NVL", nullptr, 9, 0, 132, 2'619'000, 6144, 4023, false},
           Card{"NVIDIA H200", "h200", 9, 0, 132, 3'201'000, 6144, 4800, true},
           Card{"NVIDIA GH200 480GB", nullptr, 9, 0, 132, 2'619'000, 6144, 4023, false},
           Card{"NVIDIA H20", nullptr, 9, 0, 78, 2'619'000, 6144, 4023, false},
           Card{"NVIDIA A100-SXM4-80GB", "a100", 8, 0, 108, 1'593'000, 5120, 2039, false},
           Card{"NVIDIA A100 80GB PCIe", nullptr, 8, 0, 108, 1'512'000, 5120, 1935, false},
           Card{"NVIDIA A100-SXM4-40GB", nullptr, 8, 0, 108, 1'215'000, 5120, 1555, false},
           Card{"NVIDIA GeForce RTX 4090", "rtx4090", 8, 9, 128, 10'501'000, 384, 1008, false},
           Card{"NVIDIA GeForce RTX 5090", "rtx5090", 12, 0, 170, 14'001'000, 512, 1792, false},
           Card{"NVIDIA GB200", nullptr, 10, 0, 152, 3'996'000, 8192, 8184, false},
       }) {
    INFO(card.model);
    FakeCuda cuda;
    cuda.model = card.model, cuda.major = card.major, cuda.minor = card.minor,
    cuda.multiprocessors = card.multiprocessors;
    cuda.memoryKhz = card.memoryKhz, cuda.busBits = card.busBits;
    const auto facts = cudaFacts(**CudaDriver::open("cuda:0", cuda.api()));
    REQUIRE(facts.ok());
    CHECK(facts->gpu.memoryBytesPerNs == Approx(card.gbs).epsilon(1e-3));
    CHECK(GpuCalibration::fittedToHardware(*facts) == card.fitted);
    if (card.target) {
      CHECK(*facts == *targetByName(card.target, {}));
    } else {
      CHECK(facts->name == facts->arch);
      CHECK(facts->gpu.model == card.model);
    }
  }
}

TEST_CASE("device memory comes from the caller's allocator, all of it", "[cuda][memory]") {
  std::atomic<uint64_t> taken{0}, given{0};
  CudaBench bench([&](SessionOptions &options) {
    options.allocator.allocate = [&taken](uint64_t bytes, void *) {
      taken += bytes;
      return reinterpret_cast<uint64_t>(std::aligned_alloc(256, bytes));
    };
    options.allocator.release = [&given](uint64_t address, uint64_t bytes, void *) {
      given += bytes;
      std::free(reinterpret_cast<void *>(address));
    };
  });
  bench.mustOpen();
  CHECK(bench.step(bench.cuda.stream()).ok());
  CHECK(bench.cuda.count("cuMemAlloc") == 0);
  bench.session.reset();
  CHECK(taken > 0);
  CHECK(taken == given);
}

TEST_CASE("layers and options that a GPU cannot serve are refused by name", "[cuda]") {
  CudaBench f32({}, {describeLayer(3, {.hidden = 8, .intermediate = 8, .experts = 4, .topK = 2, .dtype = DType::F32})});
  CHECK(f32.open().status().message().find("layer 3: GPU kernels compute in bf16 and f16, not in f32") !=
        std::string::npos);
  CudaBench failing([](SessionOptions &options) { options.nonFinite = NonFinitePolicy::Fail; });
  CHECK(failing.open().status().code() == Code::InvalidArgument);
  CudaBench dropped;
  dropped.compiler.dropStore = true;
  CHECK(dropped.open().status().message().find("layer 0: the launch list has no store") != std::string::npos);
}

TEST_CASE("products of a layer with biases are given them in f32, padded as their columns are", "[cuda]") {
  const LayerShape shape{
      .hidden = 44, .intermediate = 20, .experts = 6, .topK = 2, .dtype = DType::BF16, .expertBias = true};
  CudaBench bench({}, {describeLayer(0, shape)});
  bench.mustOpen();
  bench.cuda.recordProducts = true;
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  const MadeUpWeights weights;
  const LayerWeights &refs = bench.layers[0].weights;
  const auto check = [&](const WeightRef &ref, const float *found, uint32_t padded) {
    REQUIRE(found);
    for (uint32_t e = 0; e < shape.experts; ++e) {
      std::vector<float> expected = weights.values(ref, e);
      expected.resize(padded);
      CHECK(std::vector<float>(found + e * padded, found + (e + 1) * padded) == expected);
    }
  };
  REQUIRE(bench.cuda.products.size() == 2);
  check(refs.gateBias, bench.cuda.products["gate-up"].bias, 24);
  check(refs.upBias, bench.cuda.products["gate-up"].upBias, 24);
  check(refs.downBias, bench.cuda.products["down"].bias, 48);
}

TEST_CASE("products of a layer without biases are given none", "[cuda]") {
  CudaBench bench;
  bench.mustOpen();
  bench.cuda.recordProducts = true;
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  REQUIRE(bench.cuda.products.size() == 2);
  for (const auto &[name, args] : bench.cuda.products)
    CHECK((!args.bias && !args.upBias));
}

TEST_CASE("gate-up is given the pairs' weights where they are on its input, the router's own or the caller's",
          "[cuda]") {
  for (bool weightOnInput : {false, true}) {
    CudaBench bench({}, {describeLayer(0, {.hidden = 48,
                                           .intermediate = 24,
                                           .experts = 6,
                                           .topK = 2,
                                           .dtype = DType::BF16,
                                           .weightOnInput = weightOnInput})});
    bench.mustOpen();
    bench.cuda.recordProducts = true;
    REQUIRE(bench.step(bench.cuda.stream()).ok());
    REQUIRE(bench.cuda.products.size() == 2);
    CHECK(static_cast<bool>(bench.cuda.products["gate-up"].pairWeights) == weightOnInput);
    CHECK_FALSE(bench.cuda.products["down"].pairWeights);
    if (!weightOnInput)
      continue;
    const std::vector<int32_t> ids{0, 1, 2, 3};
    const std::vector<float> weights(4, 0.5f);
    auto step = bench.session->begin({.tokens = 2, .stream = bench.cuda.stream()});
    REQUIRE(step.ok());
    REQUIRE(step->layer(0)
                .forward({bench.hidden.data(), DType::BF16, 2, 48}, ids.data(), weights.data(),
                         {bench.output.data(), DType::BF16, 2, 48})
                .ok());
    CHECK(bench.cuda.products["gate-up"].pairWeights == weights.data());
  }
}
