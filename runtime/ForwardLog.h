// Where devices report forwards: the session's counters, and the observer that hears of each.
#pragma once

#include "runtime/Observation.h"

#include <atomic>
#include <cstdint>

namespace moec {

/// Counted since the session was opened.
struct SessionStats {
  uint64_t forwards = 0;      // on a GPU: as far as their counts have arrived
  uint64_t timedForwards = 0; // whose time is known: on a CPU all, on a GPU a part
  uint64_t forwardNs = 0;     // summed over those, the observer's time not included
  uint64_t monitorNs = 0;     // in the observer
  uint64_t spilledPairs = 0;
  uint64_t nonFiniteLogits = 0;
  uint64_t lostSamples = 0; // forwards on a GPU whose counts were overwritten before they were read
};

/// Wait-free apart from the observer; allocates nothing. All of it but `setObserver` is thread-safe.
class ForwardLog {
public:
  /// Not while anybody adds.
  void setObserver(StepObserver hears) { observer = std::move(hears); }
  bool observed() const { return static_cast<bool>(observer); }

  void add(const LayerObservation &forward);
  void addNonFinite(uint64_t logits) { nonFiniteLogits.fetch_add(logits, std::memory_order_relaxed); }
  /// Forwards that were not observed.
  void addSkipped(uint64_t number);
  SessionStats stats() const;

private:
  StepObserver observer;
  std::atomic<uint64_t> forwards{0}, timedForwards{0}, forwardNs{0}, monitorNs{0}, spilledPairs{0}, nonFiniteLogits{0},
      lostSamples{0};
};

} // namespace moec
