// Generations, and how steps pin them without a lock.
#pragma once

#include "compiler/core/Status.h"
#include "compiler/core/ThreadSafety.h"
#include "runtime/device/Device.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace moec {

/// One immutable compiled set. Layers are shared with the generation that it was made from, unless they changed.
struct Generation {
  uint64_t number = 0;
  std::vector<std::shared_ptr<const DeviceLayer>> layers; // in the session's order of layers

  const DeviceLayer *find(uint32_t layer) const;
};

/// All generations of a session, and which one is live.
///
/// Steps pin with hazard pointers: each step slot has one pointer that says which generation it reads. A step
/// writes it, then looks again whether that generation is still the one to use; whoever removes a generation first
/// makes it unreachable, then frees it only if no slot names it. So a step pins in a few instructions, never
/// waits and never frees, and going live is one store of one pointer.
class GenerationSet {
public:
  /// What a step holds: its slot, and the generation that cannot go away meanwhile.
  struct Pin {
    uint32_t slot = 0;
    const Generation *generation = nullptr;
  };

  /// Takes generations that no step can reach any more; a device may still be busy with them.
  using Disposer = std::function<void(std::shared_ptr<const void>)>;

  /// `first` becomes live; it is kept for ever (it is the spill path and the reference of validation).
  GenerationSet(std::unique_ptr<const Generation> first, uint32_t slots, Disposer dispose = {});

  /// Takes a slot of [begin, end). Lock-free. Error: ResourceExhausted (all of them are taken).
  Result<Pin> pin(uint32_t begin, uint32_t end);
  /// The same, of a given generation. Takes the lock: not for the step path. Errors: also NotFound.
  Result<Pin> pinNumber(uint64_t number, uint32_t begin, uint32_t end) MOEC_EXCLUDES(mutex);
  /// Ends a step.
  void unpin(uint32_t slot);

  const Generation &generic() const { return *first; }
  uint64_t liveNumber() const { return liveId.load(std::memory_order_relaxed); }
  /// The live generation, for the one thread that publishes and retires.
  const Generation &live() const { return *current.load(std::memory_order_acquire); }

  /// The generation that every second step runs on, if any does.
  std::optional<uint64_t> alternateNumber() const MOEC_EXCLUDES(mutex);

  void add(std::unique_ptr<const Generation> generation) MOEC_EXCLUDES(mutex);
  /// Makes a generation live, and ends alternating. Error: NotFound.
  Status publish(uint64_t number) MOEC_EXCLUDES(mutex);
  /// Frees a generation as soon as it is neither live nor alternated nor pinned: now or in a later call of add,
  /// publish, retire or alternate. An unknown number is ignored; generation 0 stays.
  void retire(uint64_t number) MOEC_EXCLUDES(mutex);
  /// Every second step runs on the one of the two that is not live; off: all steps run on the live one.
  /// Errors: NotFound, InvalidArgument (neither is live).
  Status alternate(uint64_t incumbent, uint64_t challenger, bool on) MOEC_EXCLUDES(mutex);
  /// Generations that are held.
  size_t size() const MOEC_EXCLUDES(mutex);

private:
  struct Held {
    std::shared_ptr<const Generation> generation;
    bool retired = false;
  };
  struct alignas(64) Slot {
    std::atomic<bool> taken{false};
    std::atomic<const Generation *> pinned{nullptr};
  };

  /// Takes a free slot of [begin, end), or `end`.
  uint32_t takeSlot(uint32_t begin, uint32_t end);
  void reap() MOEC_REQUIRES(mutex);
  bool isPinned(const Generation *generation) const;

  const Generation *first;
  const uint32_t numSlots;
  const Disposer dispose;
  std::unique_ptr<Slot[]> slots;
  std::atomic<const Generation *> current;        // what steps pin
  std::atomic<const Generation *> other{nullptr}; // what every second step pins while alternating
  std::atomic<uint64_t> liveId{0};
  std::atomic<uint32_t> steps{0}; // begun; its parity alternates
  mutable Mutex mutex;            // held by add, publish, retire, alternate; never by a step
  std::map<uint64_t, Held> held MOEC_GUARDED_BY(mutex);
};

} // namespace moec
