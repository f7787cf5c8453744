// What steps on a GPU leave for the loop: pairs per expert and, of some forwards, the time they took. Steps never wait
// for it, and neither does whoever reads it.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/ForwardLog.h"
#include "runtime/device/cuda/Forward.h"
#include "runtime/device/cuda/Memory.h"

#include <array>
#include <atomic>
#include <memory>
#include <vector>

namespace moec {

/// What is known of a forward when it is queued.
struct QueuedForward {
  uint64_t generation = 0;
  uint32_t tokens = 0;
  Phase phase = Phase::Decode;
};

/// The samples of one layer in one step slot: a ring in pinned memory that dispatch writes (KernelAbi.h, CountsRing),
/// and beside it what the host knows of each sample. One step at a time queues; one thread at a time reads.
///
/// A ring that is full loses its oldest samples, which are counted. A captured forward runs as often as its graph is
/// launched, without the host: there one description stands for all samples.
class SampleLane {
public:
  static constexpr uint32_t numSamples = 32; // some 2 ms of steps whose layers take 60 us
  static constexpr uint32_t numTimings = 4;

  uint32_t layer = 0, experts = 0;
  uint64_t *words = nullptr;    // pinned [numSamples, E + 1]
  uint32_t *sequence = nullptr; // device

  struct Timing {
    CudaEvent begin, end;
    std::atomic<uint32_t> usedBy{0}; // a sample; 0: free
  };
  std::array<Timing, numTimings> timings;

  CountsRing ring() const { return {words, sequence, numSamples}; }

  /// Whether the next forward is one of those that are timed, one in `every`.
  bool isTurn(uint32_t every) const { return queued.load(std::memory_order_relaxed) % every == 0; }
  /// Before a forward is queued: notes what it is. Returns the events to record around it, or null: this one is not
  /// timed.
  Timing *open(const QueuedForward &forward, bool timed);
  /// The forward just opened ends in an error: nobody reads its events.
  void forget(Timing &timing);
  /// After what leaves its counts was queued; or not at all, where that failed.
  void commit();

  /// Before a capture: all samples from now on are `forward`'s. Returns the events to record around it, or null.
  Timing *openCaptured(const QueuedForward &forward, bool timed);

private:
  friend class CudaSamples;
  struct Note {
    std::atomic<uint32_t> sample{0};
    std::atomic<uint64_t> generation{0};
    std::atomic<uint32_t> tokens{0};
    std::atomic<Phase> phase{Phase::Decode};
    std::atomic<int32_t> timing{-1};
    void write(uint32_t number, const QueuedForward &forward, int32_t which);
  };

  std::array<Note, numSamples> notes; // captured: the first stands for all
  std::atomic<bool> captured{false};
  std::atomic<uint32_t> queued{0}; // samples that the device has or will write
  uint32_t next = 1;               // the reader's
};

/// All lanes of a session, and who reads them.
class CudaSamples {
public:
  /// A lane for each slot and layer. `stream` clears their numbers; not waited for.
  static Result<std::unique_ptr<CudaSamples>> make(std::shared_ptr<const CudaDriver> driver, const DeviceMemory &memory,
                                                   ForwardLog &log, const std::vector<const LayerDescription *> &layers,
                                                   uint32_t slots, CUstream stream);

  SampleLane &lane(uint32_t slot, uint32_t layerIndex) { return *lanes[slot * numLayers + layerIndex]; }
  uint32_t *nonFinite() const { return pinnedNonFinite; }

  /// Hands every finished sample to the log. Never waits for the device.
  void drain() MOEC_EXCLUDES(draining);
  void withoutReports(const std::function<void()> &change) MOEC_EXCLUDES(draining);

private:
  enum class Read { Whole, NotYet, Lost };

  CudaSamples(std::shared_ptr<const CudaDriver> driver, ForwardLog &log) : driver(std::move(driver)), log(log) {}
  void drainLane(SampleLane &lane) MOEC_REQUIRES(draining);
  Read read(const SampleLane &lane, uint32_t sample, uint32_t &found) MOEC_REQUIRES(draining);
  bool report(SampleLane &lane, uint32_t sample) MOEC_REQUIRES(draining);
  uint64_t elapsedNs(const SampleLane::Timing &timing) const;
  void drainNonFinite() MOEC_REQUIRES(draining);

  std::shared_ptr<const CudaDriver> driver;
  ForwardLog &log;
  uint32_t numLayers = 0;
  PinnedBuffer pinned;
  DeviceBuffer sequences;
  uint32_t *pinnedNonFinite = nullptr;
  std::vector<std::unique_ptr<SampleLane>> lanes; // [slots, layers]

  Mutex draining;
  std::vector<uint32_t> counts MOEC_GUARDED_BY(draining);
  uint32_t seenNonFinite MOEC_GUARDED_BY(draining) = 0;
};

} // namespace moec
