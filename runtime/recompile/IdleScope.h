// How a build competes with steps for processors.
#pragma once

#include "compiler/core/ThreadSafety.h"

#include <condition_variable>
#include <cstdint>
#include <sys/types.h>
#include <thread>

namespace moec {

/// Puts the calling thread into the system's idle class (SCHED_IDLE) while it lives: the thread takes what steps leave,
/// the scheduler counts its processor as free when it places theirs, and it gives way at once. After `patienceNs` the
/// thread goes back to its own niceness, so that a build also ends on a machine whose processors are all busy.
///
/// Does nothing where a thread may not leave the idle class again (no CAP_SYS_NICE and no RLIMIT_NICE), which is tried
/// once.
class IdleScope {
public:
  explicit IdleScope(int64_t patienceNs);
  ~IdleScope();
  IdleScope(const IdleScope &) = delete;
  IdleScope &operator=(const IdleScope &) = delete;

  /// Whether the thread was put into the idle class.
  bool idle() const { return guard.joinable(); }

private:
  void watch(int64_t patienceNs) MOEC_EXCLUDES(mutex);

  pid_t thread;
  Mutex mutex; // of `over`
  std::condition_variable_any wake;
  bool over MOEC_GUARDED_BY(mutex) = false;
  std::thread guard; // of the thread's own niceness: it must run when the idle class does not
};

} // namespace moec
