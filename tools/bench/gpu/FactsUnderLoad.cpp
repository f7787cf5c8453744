#include "tools/bench/gpu/FactsUnderLoad.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>

namespace moec::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// Queues stamps until told to stop; all its figures are its own thread's until that has ended.
class Queuer {
public:
  Queuer(DriverApi &api, CUcontext context, CUfunction stamp, double kernelUs, uint32_t ahead, size_t most)
      : api(api), context(context), stamp(stamp), ns(static_cast<unsigned long long>(kernelUs * 1000)), ahead(ahead),
        most(most) {}

  Status run() {
    MOEC_CALL(api, cuCtxSetCurrent, context);
    MOEC_CALL(api, cuMemAlloc, &stamps, most * 16);
    CUstream stream = nullptr;
    MOEC_CALL(api, cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    std::deque<CUevent> queued, idle;
    for (uint32_t i = 0; i < ahead; ++i) {
      CUevent event = nullptr;
      MOEC_CALL(api, cuEventCreate, &event, CU_EVENT_DISABLE_TIMING);
      idle.push_back(event);
    }
    while (!stop && count < most) {
      if (idle.empty()) {
        // Polled, so that a call that holds the driver's lock shows in the launch below and nowhere else.
        while (api.cuEventQueryFn(queued.front()) == CUDA_ERROR_NOT_READY)
          ;
        idle.push_back(queued.front());
        queued.pop_front();
      }
      CUdeviceptr mine = stamps + count * 16;
      void *arguments[] = {&ns, &mine};
      const auto start = Clock::now();
      MOEC_CALL(api, cuLaunchKernel, stamp, 1, 1, 1, 1, 1, 1, 0, stream, arguments, nullptr);
      const double us = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
      launchUs.push_back(us);
      MOEC_CALL(api, cuEventRecord, idle.front(), stream);
      queued.push_back(idle.front());
      idle.pop_front();
      ++count;
      started = true;
    }
    MOEC_CALL(api, cuStreamSynchronize, stream);
    times.resize(count * 2);
    MOEC_CALL(api, cuMemcpyDtoH, times.data(), stamps, count * 16);
    for (const auto &events : {queued, idle})
      for (CUevent event : events)
        MOEC_CALL(api, cuEventDestroy, event);
    MOEC_CALL(api, cuStreamDestroy, stream);
    MOEC_CALL(api, cuMemFree, stamps);
    return {};
  }

  std::atomic<bool> stop{false}, started{false};
  size_t count = 0;
  std::vector<double> launchUs;
  std::vector<unsigned long long> times; // begin and end of each kernel, by the device's clock

private:
  DriverApi &api;
  CUcontext context;
  CUfunction stamp;
  unsigned long long ns;
  uint32_t ahead;
  size_t most;
  CUdeviceptr stamps = 0;
};

} // namespace

Result<Disturbance> disturb(DriverApi &api, CUcontext context, CUfunction stamp, double kernelUs, uint32_t ahead,
                            double seconds, const std::function<Status()> &call) {
  Queuer queuer(api, context, stamp, kernelUs, ahead, static_cast<size_t>(seconds * 1e6 / kernelUs * 2) + 1000);
  Status queued;
  std::thread thread([&] { queued = queuer.run(); });
  const auto pause = std::chrono::duration<double>(seconds / 3);
  std::this_thread::sleep_for(pause);
  Disturbance seen;
  Status called;
  std::atomic<bool> done{false};
  // A call that waits for the device to be idle may never come back under load: the load ends after its time
  // regardless.
  std::thread guard([&] {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(2 * pause);
    while (Clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    seen.returned = done;
    queuer.stop = true;
  });
  if (call)
    seen.callUs = microseconds([&] { called = call(); });
  done = true;
  guard.join();
  thread.join();
  MOEC_TRY(called);
  MOEC_TRY(queued);
  // The first kernels start into an idle device.
  for (size_t i = 50; i < queuer.count; ++i) {
    seen.worstLaunchUs = std::max(seen.worstLaunchUs, queuer.launchUs[i]);
    const double gap = static_cast<double>(queuer.times[2 * i]) - static_cast<double>(queuer.times[2 * i - 1]);
    seen.worstGapUs = std::max(seen.worstGapUs, gap / 1000);
  }
  return seen;
}

} // namespace moec::bench
