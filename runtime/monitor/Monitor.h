// Takes each step's pair counts from the step threads without ever making one of them wait.
#pragma once

#include "runtime/Observation.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace moec {

/// The bucket that a step belongs to: its tokens rounded up to a power of two. Decode and prefill
/// steps never share one, because a plan for their mean would suit neither.
uint32_t sizeBucket(uint32_t tokens);

/// One bounded ring of samples per layer. Any number of threads observe; one thread at a time
/// drains.
///
/// `observe` is wait-free: a ticket (one atomic add), a claim (one compare-and-swap, tried once), a
/// copy of E counts and a release store. Where the claim fails the ring is full: the sample is
/// skipped and counted.
class Monitor {
public:
  struct LayerSpec {
    uint32_t layer = 0;
    uint32_t experts = 0;
  };

  /// `slotsPerLayer` samples fit each ring; rounded up to a power of two.
  explicit Monitor(std::span<const LayerSpec> layers, uint32_t slotsPerLayer = 64);
  ~Monitor();

  /// Records a sample. Thread-safe, wait-free, allocates nothing. A sample of an unknown layer, or
  /// with another number of experts, is counted as skipped.
  void observe(const LayerObservation &sample) noexcept;
  /// `observe`, as a session takes it. The monitor must outlive the session's use of it.
  StepObserver observer() {
    return [this](const LayerObservation &sample) { observe(sample); };
  }

  /// Hands every finished sample to `take`, by layer and in the order of arrival, and frees its
  /// slot. The span is valid during the call only. One thread at a time. Returns the number of
  /// samples.
  uint64_t drain(const std::function<void(const LayerObservation &)> &take);

  /// Samples that found their ring full (or named no layer of ours) since the start. Thread-safe.
  uint64_t skipped() const { return skippedSamples.load(std::memory_order_relaxed); }

private:
  struct Ring;
  Ring *find(uint32_t layer) const noexcept;

  std::vector<std::unique_ptr<Ring>> rings;
  std::vector<Ring *> byLayer; // indexed by layer number; null where the monitor has no such layer
  std::atomic<uint64_t> skippedSamples{0};
};

} // namespace moec
