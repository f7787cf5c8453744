#include "runtime/recompile/IdleScope.h"
#include "tests/unit/Catch.h"

#include <sched.h>

#include <chrono>
#include <thread>

using namespace moec;

namespace {

constexpr int64_t aSecond = 1'000'000'000;

/// Runs `body` on a thread of its own, whose class it may change.
template <class Body> void onThread(Body body) { std::thread(body).join(); }

} // namespace

TEST_CASE("a build is idle for as long as its scope", "[recompile][idle]") {
  int inside = -1, after = -1;
  bool idle = false;
  onThread([&] {
    {
      IdleScope scope(60 * aSecond);
      idle = scope.idle();
      inside = sched_getscheduler(0);
    }
    after = sched_getscheduler(0);
  });
  CHECK(inside == (idle ? SCHED_IDLE : SCHED_OTHER)); // without privileges it stays what it is
  CHECK(after == SCHED_OTHER);
}

TEST_CASE("a build that steps leave no time goes back to its niceness", "[recompile][idle]") {
  int patientlyAfter = SCHED_IDLE;
  onThread([&] {
    IdleScope scope(aSecond / 20);
    for (int wait = 0; wait < 500 && patientlyAfter == SCHED_IDLE; ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      patientlyAfter = sched_getscheduler(0);
    }
  });
  CHECK(patientlyAfter == SCHED_OTHER);
}

TEST_CASE("without patience nothing changes", "[recompile][idle]") {
  onThread([] {
    IdleScope scope(0);
    CHECK_FALSE(scope.idle());
    CHECK(sched_getscheduler(0) == SCHED_OTHER);
  });
}
