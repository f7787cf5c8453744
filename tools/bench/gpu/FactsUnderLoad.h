// What loading, unloading and freeing on one thread does to steps that another thread keeps queueing.
#pragma once

#include "tools/bench/gpu/FactsDriver.h"

#include <functional>
#include <string>
#include <vector>

namespace moec::bench {

/// What the queueing thread and the device saw while something happened on the other thread.
struct Disturbance {
  double callUs = 0;        // of the call itself
  double worstLaunchUs = 0; // longest a launch took on the queueing thread
  double worstGapUs = 0;    // longest the device had nothing to run between two of its kernels
  bool returned = false;    // before the load ended
};

/// A thread that keeps a stream busy with kernels of `kernelUs`, `ahead` of them queued, each noting on the device when
/// it began and ended. `stamp` is `extern "C" __global__ void stamp(unsigned long long ns, unsigned long long
/// *beginEnd)`.
///
/// Runs `call` on the calling thread in the middle of `seconds` of such load. An empty `call` gives what is normal.
Result<Disturbance> disturb(DriverApi &api, CUcontext context, CUfunction stamp, double kernelUs, uint32_t ahead,
                            double seconds, const std::function<Status()> &call);

} // namespace moec::bench
