#include "runtime/recompile/IdleScope.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <system_error>

namespace moec {
namespace {

constexpr sched_param noPriority{};

bool enterIdle(pid_t thread) { return sched_setscheduler(thread, SCHED_IDLE, &noPriority) == 0; }
bool leaveIdle(pid_t thread) { return sched_setscheduler(thread, SCHED_OTHER, &noPriority) == 0; }

/// Tried on a thread that ends: one without privileges would stay in the class for good.
bool canLeaveIdle() {
  static const bool can = [] {
    bool left = false;
    try {
      std::thread([&left] { left = enterIdle(0) && leaveIdle(0); }).join();
    } catch (const std::system_error &) {
    }
    return left;
  }();
  return can;
}

} // namespace

IdleScope::IdleScope(int64_t patienceNs) : thread(static_cast<pid_t>(syscall(SYS_gettid))) {
  if (patienceNs <= 0 || sched_getscheduler(0) != SCHED_OTHER || !canLeaveIdle())
    return;
  try {
    guard = std::thread([this, patienceNs] { watch(patienceNs); });
  } catch (const std::system_error &) {
    return; // no thread to take it back
  }
  enterIdle(thread);
}

IdleScope::~IdleScope() {
  if (!guard.joinable())
    return;
  {
    Lock lock(mutex);
    over = true;
  }
  leaveIdle(thread);
  wake.notify_all();
  guard.join();
}

void IdleScope::watch(int64_t patienceNs) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(patienceNs);
  Lock lock(mutex);
  while (!over && wake.wait_until(mutex, deadline) == std::cv_status::no_timeout) {
  }
  if (!over)
    leaveIdle(thread);
}

} // namespace moec
