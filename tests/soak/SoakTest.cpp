// Random drift for a long time: every swap under fire, every bit checked, and the trace replayed at the end.
#include "runtime/recompile/Recompiler.h"
#include "runtime/trace/Replay.h"
#include "runtime/trace/TraceReader.h"
#include "tests/unit/runtime/FakeKernels.h"
#include "tests/unit/runtime/Harness.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

using namespace moec;
using namespace moec::test;

namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t numCallers = 4, maxTokens = 24, experts = 12, topK = 3, numLayers = 2;

double secondsToRun() {
  const char *text = std::getenv("MOEC_SOAK_SECONDS");
  const double seconds = text ? std::atof(text) : 0;
  return seconds > 0 ? seconds : 60;
}

uint64_t residentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

LayerDescription layer(uint32_t number) {
  return describeLayer(number,
                       {.hidden = 24, .intermediate = 16, .experts = experts, .topK = topK, .dtype = DType::BF16});
}

/// A step with its routing, and what generation 0 computed for it in each layer.
struct Case {
  Tensor hidden;
  std::vector<int32_t> ids;
  std::vector<float> weights;
  std::vector<std::byte> expected[numLayers];
};

/// Routing drawn around a hot expert, so that cases of different ones are different traffic.
Case makeCase(uint32_t seed, uint32_t hot) {
  std::mt19937 random(seed);
  const uint32_t tokens = 1 + random() % maxTokens;
  Case made{Tensor::random(tokens, 24, DType::BF16, seed), {}, {}, {}};
  for (uint32_t token = 0; token < tokens; ++token) {
    std::vector<int32_t> order(experts);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    if (random() % 4 != 0)
      std::swap(order[0], *std::find(order.begin(), order.end(), static_cast<int32_t>(hot)));
    for (uint32_t k = 0; k < topK; ++k) {
      made.ids.push_back(order[k]);
      made.weights.push_back(0.25f + 0.25f * static_cast<float>(random() % 4));
    }
  }
  return made;
}

Status forward(Session &session, const Case &step, uint32_t number, Tensor &output) {
  Result<Step> begun =
      session.begin({.tokens = step.hidden.rows, .phase = step.hidden.rows > 8 ? Phase::Prefill : Phase::Decode});
  if (!begun)
    return begun.status();
  ConstTensorView in{step.hidden.bytes.data(), step.hidden.dtype, step.hidden.rows, step.hidden.columns};
  return begun->layer(number).forward(in, step.ids.data(), step.weights.data(), output.view());
}

/// Changes something at nearly every look, and another kind of thing each time: a function of what was seen alone.
Verdict restless(const DecisionRecord &proposed) {
  uint32_t mixed = 2166136261u;
  for (uint32_t pairs : proposed.statistics.typical.pairs)
    mixed = (mixed ^ pairs) * 16777619u;
  constexpr Verdict verdicts[] = {Verdict::Retable, Verdict::Reuse, Verdict::Compile, Verdict::Compile, Verdict::Keep};
  return verdicts[(mixed >> 8) % std::size(verdicts)];
}

RecompilerOptions restlessLoop(const Session &session, GenerationHost &host) {
  RecompilerOptions options;
  options.layers = session.layers();
  options.policy.changesPerMinute = 1e6;
  options.policy.coolDownNs = 0;
  options.policy.backOffNs = 1'000'000;
  options.policy.lookNs = options.policy.mostLookNs = 1;
  options.hooks.policy = restless;
  options.profile.defaultTokens = 16;
  options.windowSteps = 4;
  options.windowAgeNs = 2'000'000;
  options.periodNs = 500'000;
  options.idlePatienceNs = 0; // the callers leave no idle time, and many swaps are what this is for
  options.measurePairs = 4;
  options.measureDeadlineNs = 10'000'000;
  options.niceness = 0;
  return options;
}

} // namespace

TEST_CASE("random drift under 4 callers: no wrong bit, no leak, and the trace replays", "[soak]") {
  const double seconds = secondsToRun();
  TemporaryFolder folder;
  Harness harness({layer(0), layer(1)}, [](SessionOptions &options) {
    options.maxSteps = numCallers;
    options.maxTokens = maxTokens;
    options.threads = 2;
    options.packBudget.share = 0.5;
    options.plannedTokens = 16;
  });
  Session &session = *harness.session;
  harness.compiler.wrongHeight = 5; // builds that have it fail their validation, and steps must not notice
  std::vector<Case> cases;
  for (uint32_t index = 0; index < 48; ++index) {
    Case made = makeCase(index, index / 8);
    for (uint32_t number = 0; number < numLayers; ++number) {
      Tensor output(made.hidden.rows, 24, DType::BF16);
      REQUIRE(forward(session, made, number, output).ok());
      made.expected[number] = output.bytes;
    }
    cases.push_back(std::move(made));
  }

  RecompilerOptions options = restlessLoop(session, session.host());
  LineWriterOptions writer;
  writer.path = folder.path() + "/soak.jsonl";
  writer.maxBytes = 4ull << 30; // one file: a rotated trace keeps its newest segments only
  writer.queueBytes = 64u << 20;
  Result<std::unique_ptr<LineWriter>> trace =
      openDecisionTrace(writer, {.buildId = "soak", .run = 1}, Recompiler::setupOf(session.host(), options));
  REQUIRE(trace.ok());
  auto loop = std::make_unique<Recompiler>(session.host(), options, trace->get());
  session.setObserver(loop->monitor().observer());
  REQUIRE(loop->start().ok());

  std::atomic<bool> stop{false};
  std::atomic<uint32_t> hot{0}; // which cases are traffic now
  std::atomic<uint64_t> wrong{0}, failed{0}, steps{0};
  auto caller = [&](uint32_t seed) {
    std::mt19937 random(seed);
    while (!stop.load(std::memory_order_relaxed)) {
      const Case &step = cases[hot.load(std::memory_order_relaxed) * 8 + random() % 8];
      Tensor output(step.hidden.rows, 24, DType::BF16);
      for (uint32_t number = 0; number < numLayers; ++number) {
        failed += !forward(session, step, number, output).ok();
        wrong += output.bytes != step.expected[number];
      }
      ++steps;
    }
  };
  std::vector<std::thread> callers;
  for (uint32_t index = 0; index < numCallers; ++index)
    callers.emplace_back(caller, index + 1);

  std::mt19937 random(99);
  const auto settled = [&] { // lines that wait for a slow disk are no leak
    (*trace)->flush();
    return residentBytes();
  };
  uint64_t residentEarly = 0;
  const auto start = Clock::now();
  for (double now = 0; now < seconds; now = std::chrono::duration<double>(Clock::now() - start).count()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 60));
    hot.store(random() % 6);
    if (residentEarly == 0 && now > seconds / 3)
      residentEarly = settled();
  }
  const uint64_t residentLate = settled();
  stop = true;
  for (std::thread &thread : callers)
    thread.join();
  loop->stop();
  session.setObserver(nullptr);
  const RecompilerStats stats = loop->stats();
  loop.reset();
  trace->reset(); // writes what is queued

  WARN(steps << " steps, " << stats.changes << " swaps (" << stats.kept << " kept, " << stats.rolledBack
             << " rolled back), " << stats.failedBuilds << " failed builds, " << harness.compiler.compiles
             << " compiles, resident " << (residentEarly >> 20) << " -> " << (residentLate >> 20) << " MiB");
  CHECK(wrong == 0);
  CHECK(failed == 0);
  CHECK(static_cast<double>(stats.changes) > 2 * seconds); // a machine with little to do makes a hundred a second
  CHECK(stats.failedBuilds > 0);
  CHECK(stats.droppedTraceLines == 0);
  CHECK(residentLate < residentEarly + (16u << 20));
  // Kernels are kept per layer up to a bound, however many sets of heights came by.
  CHECK(loadedFakes() <= 64);

  Result<TraceFile> recorded = readTrace(folder.path() + "/soak.jsonl");
  INFO(recorded.status().message());
  REQUIRE(recorded.ok());
  Result<ReplayReport> replayed = replayTrace(*recorded);
  INFO(replayed.status().message());
  REQUIRE(replayed.ok());
  INFO(replayed->where << "\n" << replayed->recorded << "\n" << replayed->replayed);
  CHECK(replayed->matches);
  CHECK(replayed->judgements == stats.kept + stats.rolledBack);
}
