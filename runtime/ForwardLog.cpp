#include "runtime/ForwardLog.h"

#include <chrono>

namespace moec {

void ForwardLog::add(const LayerObservation &forward) {
  forwards.fetch_add(1, std::memory_order_relaxed);
  if (forward.layerNs > 0)
    timedForwards.fetch_add(1, std::memory_order_relaxed);
  forwardNs.fetch_add(forward.layerNs, std::memory_order_relaxed);
  spilledPairs.fetch_add(forward.spilledPairs, std::memory_order_relaxed);
  if (!observer)
    return;
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  observer(forward);
  const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start);
  monitorNs.fetch_add(static_cast<uint64_t>(spent.count()), std::memory_order_relaxed);
}

void ForwardLog::addSkipped(uint64_t number) {
  forwards.fetch_add(number, std::memory_order_relaxed);
  lostSamples.fetch_add(number, std::memory_order_relaxed);
}

SessionStats ForwardLog::stats() const {
  const auto get = [](const std::atomic<uint64_t> &counter) { return counter.load(std::memory_order_relaxed); };
  return {.forwards = get(forwards),
          .timedForwards = get(timedForwards),
          .forwardNs = get(forwardNs),
          .monitorNs = get(monitorNs),
          .spilledPairs = get(spilledPairs),
          .nonFiniteLogits = get(nonFiniteLogits),
          .lostSamples = get(lostSamples)};
}

} // namespace moec
