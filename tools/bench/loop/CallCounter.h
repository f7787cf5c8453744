// Counts driver calls by thread, through CUPTI.
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <memory>

namespace moec::bench {

/// What a thread asked of the CUDA driver.
struct DriverCalls {
  uint64_t calls = 0;            ///< of the driver's functions, whichever way they were found
  uint64_t synchronisations = 0; ///< waits for a stream, an event or the context, also those inside other calls

  DriverCalls operator-(const DriverCalls &other) const {
    return {calls - other.calls, synchronisations - other.synchronisations};
  }
  DriverCalls &operator+=(const DriverCalls &other) {
    calls += other.calls;
    synchronisations += other.synchronisations;
    return *this;
  }
};

/// Counts every thread's driver calls while it lives; calls take about a microsecond longer
/// meanwhile. One at a time in a process, as CUPTI has it. CUPTI is opened at run time and stays
/// open.
class CallCounter {
public:
  /// Errors: NotFound (no CUPTI), and what CUPTI refuses (another profiler is at work).
  static Result<std::unique_ptr<CallCounter>> start();
  ~CallCounter();
  CallCounter(const CallCounter &) = delete;
  CallCounter &operator=(const CallCounter &) = delete;

  /// The calling thread's calls so far, over all counters' lives. Any thread.
  static DriverCalls ofThisThread();

private:
  struct Cupti;
  CallCounter(const Cupti &cupti, void *subscriber) : cupti(cupti), subscriber(subscriber) {}
  static Result<const Cupti *> open();

  const Cupti &cupti;
  void *subscriber;
};

} // namespace moec::bench
