// What a session tells after each layer's forward; the recompilation loop's monitor listens.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace moec {

/// What the caller says that a step is, for observers. The loop tells small steps from large ones by their tokens.
enum class Phase : uint8_t { Decode, Prefill };

/// One layer of one step.
struct LayerObservation {
  uint32_t layer = 0;
  uint32_t tokens = 0;
  Phase phase = Phase::Decode;
  std::span<const uint32_t> pairs; // [E] pairs of each expert; valid during the call only
  uint64_t layerNs = 0;            // the forward, routing included
  uint64_t spilledPairs = 0;       // pairs of experts that overflowed their slots
  uint64_t generation = 0;         // that the step pinned
};

/// Called on the step's thread after the layer's output is written. Must be wait-free and cheap, must not throw,
/// and may be called from several steps at once. Its time is measured (SessionStats::monitorNs).
using StepObserver = std::function<void(const LayerObservation &)>;

} // namespace moec
