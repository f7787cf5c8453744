#include "runtime/monitor/Monitor.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace moec {

namespace {

// A slot goes Free -> Claimed (one step thread) -> Full -> Free (the draining thread).
enum : uint32_t { Free = 0, Claimed = 1, Full = 2 };

// Cache lines are 64 bytes: neighbouring slots are written by different threads.
struct alignas(64) Slot {
  std::atomic<uint32_t> state{Free};
  uint32_t tokens = 0;
  Phase phase = Phase::Decode;
  uint64_t ticket = 0;
  uint64_t layerNs = 0;
  uint64_t spilledPairs = 0;
  uint64_t generation = 0;
};

} // namespace

struct Monitor::Ring {
  Ring(const LayerSpec &spec, uint32_t size)
      : layer(spec.layer), experts(spec.experts), mask(size - 1), slots(size), counts(size_t{size} * spec.experts) {
    arrived.reserve(size);
  }

  const uint32_t layer;
  const uint32_t experts;
  const uint32_t mask;
  alignas(64) std::atomic<uint64_t> nextTicket{0};
  alignas(64) std::vector<Slot> slots;
  std::vector<uint32_t> counts; // [slots, E]
  std::vector<Slot *> arrived;  // scratch of the draining thread
};

uint32_t sizeBucket(uint32_t tokens) {
  constexpr uint32_t largest = 1u << 31;
  return tokens >= largest ? largest : std::bit_ceil(std::max(tokens, 1u));
}

Monitor::Monitor(std::span<const LayerSpec> layers, uint32_t slotsPerLayer) {
  uint32_t size = std::bit_ceil(std::clamp(slotsPerLayer, 2u, 1u << 16));
  for (const LayerSpec &spec : layers) {
    rings.push_back(std::make_unique<Ring>(spec, size));
    if (byLayer.size() <= spec.layer)
      byLayer.resize(spec.layer + 1, nullptr);
    byLayer[spec.layer] = rings.back().get();
  }
}

Monitor::~Monitor() = default;

Monitor::Ring *Monitor::find(uint32_t layer) const noexcept {
  return layer < byLayer.size() ? byLayer[layer] : nullptr;
}

void Monitor::observe(const LayerObservation &sample) noexcept {
  Ring *ring = find(sample.layer);
  if (!ring || sample.pairs.size() != ring->experts) {
    skippedSamples.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  uint64_t ticket = ring->nextTicket.fetch_add(1, std::memory_order_relaxed);
  size_t index = ticket & ring->mask;
  Slot &slot = ring->slots[index];
  uint32_t expected = Free;
  if (!slot.state.compare_exchange_strong(expected, Claimed, std::memory_order_acquire, std::memory_order_relaxed)) {
    skippedSamples.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  slot.tokens = sample.tokens;
  slot.ticket = ticket;
  slot.phase = sample.phase;
  slot.layerNs = sample.layerNs;
  slot.spilledPairs = sample.spilledPairs;
  slot.generation = sample.generation;
  if (ring->experts)
    std::memcpy(&ring->counts[index * ring->experts], sample.pairs.data(), sample.pairs.size_bytes());
  slot.state.store(Full, std::memory_order_release);
}

uint64_t Monitor::drain(const std::function<void(const LayerObservation &)> &take) {
  uint64_t drained = 0;
  for (const std::unique_ptr<Ring> &ring : rings) {
    // A skipped ticket leaves a hole, so the slots are collected and put in order instead of walked
    // from a tail.
    ring->arrived.clear();
    for (Slot &slot : ring->slots)
      if (slot.state.load(std::memory_order_acquire) == Full)
        ring->arrived.push_back(&slot);
    std::sort(ring->arrived.begin(), ring->arrived.end(),
              [](const Slot *a, const Slot *b) { return a->ticket < b->ticket; });
    for (Slot *slot : ring->arrived) {
      size_t index = static_cast<size_t>(slot - ring->slots.data());
      take({.layer = ring->layer,
            .tokens = slot->tokens,
            .phase = slot->phase,
            .pairs = {ring->counts.data() + index * ring->experts, ring->experts},
            .layerNs = slot->layerNs,
            .spilledPairs = slot->spilledPairs,
            .generation = slot->generation});
      slot->state.store(Free, std::memory_order_release);
    }
    drained += ring->arrived.size();
  }
  return drained;
}

} // namespace moec
