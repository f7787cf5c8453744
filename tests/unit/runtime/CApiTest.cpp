// The C API over a session on fake kernels; tests/e2e has it in C and from Python.
#include "runtime/c/Handles.h"
#include "tests/unit/runtime/Harness.h"

#include <atomic>
#include <thread>

using namespace moec;
using namespace moec::test;

namespace {

LayerDescription smallLayer() {
  return describeLayer(3, {.hidden = 24, .intermediate = 16, .experts = 6, .topK = 2, .dtype = DType::BF16});
}

MoecTensor tensorOf(Tensor &tensor) {
  return {tensor.bytes.data(), static_cast<int32_t>(tensor.dtype), 0, tensor.rows, tensor.columns};
}

MoecCode forwardOnce(MoecSession &session, Tensor &hidden, Tensor &output) {
  MoecStepOptions options = {};
  options.size = sizeof options;
  options.tokens = hidden.rows;
  MoecStep step;
  if (MoecCode code = moec_step_begin(&session, &options, &step); code != MOEC_OK)
    return code;
  const MoecTensor from = tensorOf(hidden), to = tensorOf(output);
  const MoecCode code = moec_step_forward(&step, 3, &from, nullptr, nullptr, &to);
  moec_step_end(&step);
  return code;
}

} // namespace

TEST_CASE("threads step by the C API while another asks the loop, and none sees another's error", "[runtime][c]") {
  Harness harness({smallLayer()}, [](SessionOptions &options) { options.maxSteps = 4; });
  Tensor hidden = Tensor::random(9, 24, DType::BF16, 5);
  const std::vector<std::byte> expected = harness.forward(hidden).bytes;
  MoecSession session(std::move(*harness.session), 256, Mode::Auto);
  harness.session.reset();
  MoecLoopOptions watch = {};
  watch.size = sizeof watch;
  watch.windowSteps = 4;
  REQUIRE(moec_loop_start(&session, &watch) == MOEC_OK);

  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0}, steps{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&, i] {
      Tensor input = hidden, output(9, 24, DType::BF16), tall(1000000 + static_cast<uint32_t>(i), 1, DType::BF16);
      while (!stop) {
        wrong += forwardOnce(session, input, output) != MOEC_OK || output.bytes != expected;
        wrong += forwardOnce(session, tall, output) != MOEC_RESOURCE_EXHAUSTED;
        wrong += std::string(moec_last_error()).find(std::to_string(tall.rows)) == std::string::npos;
        ++steps;
      }
    });
  MoecLoopStats stats = {};
  stats.size = sizeof stats;
  do {
    CHECK(moec_loop_request(&session) == MOEC_OK);
    REQUIRE(moec_loop_stats(&session, &stats) == MOEC_OK);
    std::this_thread::yield();
  } while (stats.decisions < 2 || steps < 10);
  stop = true;
  for (std::thread &caller : callers)
    caller.join();
  CHECK(wrong == 0);
  CHECK(stats.samples > 0);
  CHECK(moec_loop_stop(&session) == MOEC_OK);
  CHECK(moec_loop_stop(&session) == MOEC_NOT_FOUND);
}

TEST_CASE("sessions that may not change have no loop, and manual ones wait to be asked", "[runtime][c]") {
  for (Mode mode : {Mode::Off, Mode::Manual, Mode::Strict}) {
    Harness harness({smallLayer()});
    MoecSession session(std::move(*harness.session), 256, mode);
    harness.session.reset();
    CHECK(moec_loop_start(&session, nullptr) == (mode == Mode::Off ? MOEC_INVALID_ARGUMENT : MOEC_OK));
    if (mode != Mode::Off)
      CHECK(moec_loop_stop(&session) == MOEC_OK);
  }
}

TEST_CASE("a struct of an older header is filled as far as its owner knows it", "[runtime][c]") {
  Harness harness({smallLayer()});
  MoecSession session(std::move(*harness.session), 256, Mode::Auto);
  harness.session.reset();
  Tensor hidden = Tensor::random(9, 24, DType::BF16, 5), output(9, 24, DType::BF16);
  REQUIRE(forwardOnce(session, hidden, output) == MOEC_OK);
  MoecSessionStats stats;
  std::memset(static_cast<void *>(&stats), 0x55, sizeof stats);
  const uint64_t untouched = stats.timedForwards;
  stats.size = offsetof(MoecSessionStats, timedForwards); // the last that it knows are forwards
  REQUIRE(moec_session_stats(&session, &stats) == MOEC_OK);
  CHECK(stats.size == offsetof(MoecSessionStats, timedForwards));
  CHECK(stats.forwards == 1);
  CHECK(stats.liveGeneration == 0);
  CHECK(stats.timedForwards == untouched);
  stats.size = 4;
  CHECK(moec_session_stats(&session, &stats) == MOEC_INVALID_ARGUMENT);

  struct { // of a newer header
    MoecSessionStats known;
    uint64_t added;
  } newer;
  std::memset(static_cast<void *>(&newer), 0x55, sizeof newer);
  newer.known.size = sizeof newer;
  REQUIRE(moec_session_stats(&session, &newer.known) == MOEC_OK);
  CHECK(newer.known.timedForwards == 1);
  CHECK(newer.known.alternateGeneration == -1);
  CHECK(newer.added == 0);

  MoecStepOptions options = {}; // of an older header, which ended before these two
  options.size = offsetof(MoecStepOptions, onGeneration);
  options.tokens = 9;
  options.onGeneration = 1; // is not looked at
  options.generation = 77;
  MoecStep step;
  REQUIRE(moec_step_begin(&session, &options, &step) == MOEC_OK);
  moec_step_end(&step);
  options.size = sizeof options;
  CHECK(moec_step_begin(&session, &options, &step) == MOEC_NOT_FOUND);
  options.generation = 0;
  CHECK(moec_step_begin(&session, &options, &step) == MOEC_OK);
  CHECK(moec_step_generation(&step) == 0);
  moec_step_end(&step);
}
