// Generations that no step can reach, until the device is done with what was queued on them.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/device/cuda/Driver.h"

#include <memory>
#include <span>
#include <vector>

namespace moec {

/// Waits without waiting: an event behind the ends of all steps so far is asked for now and then. Thread-safe.
class Retirement {
public:
  static Result<std::unique_ptr<Retirement>> make(std::shared_ptr<const CudaDriver> driver);

  /// Keeps `unreachable` until everything that `stepEnds` recorded is done. Where that cannot be asked (the device is
  /// lost), keeps it until this goes.
  void add(std::shared_ptr<const void> unreachable, std::span<const CUevent> stepEnds) MOEC_EXCLUDES(mutex);
  /// Lets go of what is done with.
  void collect() MOEC_EXCLUDES(mutex);
  size_t size() const MOEC_EXCLUDES(mutex);

private:
  struct Entry {
    std::shared_ptr<const void> kept;
    CudaEvent passed; // empty: cannot be asked for
  };

  explicit Retirement(std::shared_ptr<const CudaDriver> driver) : driver(std::move(driver)) {}
  Result<CudaEvent> eventBehind(std::span<const CUevent> stepEnds);

  std::shared_ptr<const CudaDriver> driver;
  CudaStream stream; // nothing runs on it; it only joins the steps' ends
  mutable Mutex mutex;
  std::vector<Entry> entries MOEC_GUARDED_BY(mutex);
};

} // namespace moec
