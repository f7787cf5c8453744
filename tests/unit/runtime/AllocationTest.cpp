// The step path allocates nothing: operator new is counted for the whole program.
//
// Not under sanitizers, which bring an operator new of their own.
#include "runtime/device/cpu/Clones.h"

#if !defined(MOEC_SANITIZED)
#include "runtime/c/Handles.h"
#include "tests/unit/runtime/Harness.h"

#include <atomic>

namespace {

std::atomic<uint64_t> allocations{0};

void counted() { allocations.fetch_add(1, std::memory_order_relaxed); }

} // namespace

#include "tests/unit/CountedNew.h"

using namespace moec;
using namespace moec::test;

TEST_CASE("beginning a step and its forwards allocate nothing", "[runtime][allocation]") {
  LayerDescription layer = describeLayer(
      0, {.hidden = 40, .intermediate = 17, .experts = 8, .topK = 2, .dtype = DType::BF16, .sharedIntermediate = 8});
  for (double share : {0.0, 1.0}) {
    Harness harness({layer}, [&](SessionOptions &options) { options.packBudget.share = share; });
    uint64_t observed = 0;
    harness.session->setObserver([&observed](const LayerObservation &o) { observed += o.tokens; });
    Tensor hidden = Tensor::random(24, 40, DType::BF16, 1), output(24, 40, DType::BF16);
    std::vector<int32_t> ids;
    for (int t = 0; t < 24; ++t)
      ids.insert(ids.end(), {t % 8, (t + 3) % 8});
    const std::vector<float> weights(48, 0.5f);
    const uint64_t before = allocations.load();
    bool ok = true;
    for (int repeat = 0; repeat < 3; ++repeat) {
      auto step = harness.session->begin({.tokens = 24});
      ok &= step->layer(0).forward(hidden.view(), output.view()).ok();
      ok &= step->layer(0).forward(hidden.view(), ids.data(), weights.data(), output.view()).ok();
    }
    const uint64_t after = allocations.load();
    CHECK(after - before == 0);
    CHECK(ok);
    CHECK(observed == 2 * 3 * 24);

    MoecSession session(std::move(*harness.session), 256, Mode::Auto); // the same by C
    harness.session.reset();
    const MoecTensor from = {hidden.bytes.data(), MOEC_BF16, 0, 24, 40},
                     to = {output.bytes.data(), MOEC_BF16, 0, 24, 40};
    MoecStepOptions options = {};
    options.size = sizeof options;
    options.tokens = 24;
    MoecStep step;
    const uint64_t beforeC = allocations.load();
    ok = moec_step_begin(&session, &options, &step) == MOEC_OK;
    ok &= moec_step_forward(&step, 0, &from, nullptr, nullptr, &to) == MOEC_OK;
    ok &= moec_step_forward(&step, 0, &from, ids.data(), weights.data(), &to) == MOEC_OK;
    moec_step_end(&step);
    CHECK(allocations.load() == beforeC);
    CHECK(ok);
  }
  const uint64_t before = allocations.load();
  ::operator delete(::operator new(8));    // a new-expression could be left out by the compiler
  CHECK(allocations.load() == before + 1); // the counter counts
}

#endif
