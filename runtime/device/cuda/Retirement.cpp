#include "runtime/device/cuda/Retirement.h"

#include <algorithm>

namespace moec {

Result<std::unique_ptr<Retirement>> Retirement::make(std::shared_ptr<const CudaDriver> driver) {
  std::unique_ptr<Retirement> retirement(new Retirement(driver));
  Result<CudaStream> stream = makeStream(driver);
  if (!stream)
    return stream.status();
  retirement->stream = std::move(*stream);
  return retirement;
}

Result<CudaEvent> Retirement::eventBehind(std::span<const CUevent> stepEnds) {
  Result<CudaEvent> event = makeEvent(driver, false);
  if (!event)
    return event;
  for (CUevent end : stepEnds)
    MOEC_CUDA(*driver, cuStreamWaitEvent, (stream.get(), end, CU_EVENT_WAIT_DEFAULT), "joining the end of a step");
  MOEC_CUDA(*driver, cuEventRecord, (event->get(), stream.get()), "behind all steps");
  return event;
}

void Retirement::add(std::shared_ptr<const void> unreachable, std::span<const CUevent> stepEnds) {
  BackgroundScope scope(*driver);
  Lock lock(mutex);
  Result<CudaEvent> event = eventBehind(stepEnds);
  entries.push_back({std::move(unreachable), event ? std::move(*event) : CudaEvent()});
}

void Retirement::collect() {
  BackgroundScope scope(*driver);
  std::vector<Entry> done; // let go of without the lock: that may take a while
  {
    Lock lock(mutex);
    const auto passed = [&](const Entry &entry) {
      if (!entry.passed)
        return false;
      Result<bool> ready = isDone(*driver, entry.passed.get());
      return ready && *ready;
    };
    auto kept = std::partition(entries.begin(), entries.end(), [&](const Entry &entry) { return !passed(entry); });
    std::move(kept, entries.end(), std::back_inserter(done));
    entries.erase(kept, entries.end());
  }
}

size_t Retirement::size() const {
  Lock lock(mutex);
  return entries.size();
}

} // namespace moec
