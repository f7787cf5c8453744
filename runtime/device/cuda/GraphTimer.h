// Device time of queued work, by events around replays of a graph that holds it: no launch by the host in between.
#pragma once

#include "runtime/device/cuda/Driver.h"

#include <functional>
#include <vector>

namespace moec {

/// Used by one thread at a time.
class GraphTimer {
public:
  /// Times what is queued on `stream`, which must outlive it.
  static Result<GraphTimer> make(std::shared_ptr<const CudaDriver> driver, CUstream stream);

  /// Captures what `queue` queues on the stream, replays it `warmUps` times and then `repeats` times: nanoseconds of
  /// each of these. Errors: those of `queue` and the driver's.
  Result<std::vector<double>> replays(const std::function<Status()> &queue, uint32_t warmUps, uint32_t repeats) const;
  /// The same for work as `queue` queues it each time, launch by launch.
  Result<std::vector<double>> runs(const std::function<Status()> &queue, uint32_t warmUps, uint32_t repeats) const;

private:
  GraphTimer(std::shared_ptr<const CudaDriver> driver, CUstream stream) : driver(std::move(driver)), stream(stream) {}

  std::shared_ptr<const CudaDriver> driver;
  CUstream stream;
  CudaEvent begin, end;
};

} // namespace moec
