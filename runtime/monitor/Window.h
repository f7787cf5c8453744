// Steps of one layer and one size bucket, summed: what the policy sees and the trace records.
#pragma once

#include "compiler/core/Histogram.h"
#include "runtime/monitor/Monitor.h"

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace moec {

/// Consecutive steps of one layer whose tokens fall into one size bucket.
struct Window {
  uint32_t layer = 0;
  uint32_t bucket = 0; // sizeBucket of every step
  uint32_t steps = 0;
  uint32_t tokens = 0;         // summed over the steps
  std::vector<uint32_t> pairs; // [E] summed over the steps; at most `tokens` each, so they fit
  std::vector<uint32_t> peak;  // [E] most pairs in one step: what slots have to hold
  /// Steps as they were, evenly spread over the window, at least one: a mean has not the spread of
  /// pairs that tiles have to cover.
  std::vector<Histogram> specimens;
  uint64_t spilledPairs = 0; // summed over the steps
  uint64_t medianNs = 0;     // of the layer, over the timed steps; 0 without one
  uint64_t generation = 0;   // of the last step

  bool operator==(const Window &) const = default;
};

/// The mean step of `steps` steps with these sums, in whole pairs.
///
/// Keeps the mean total: what rounding down leaves over goes to the largest remainders. Plain
/// rounding would turn one token's 8 pairs over 128 experts into an empty step.
Histogram typicalStep(uint64_t tokens, std::span<const uint64_t> pairs, uint64_t steps);
Histogram typicalStep(const Window &window);

/// Collects samples into windows. One thread.
class WindowBuilder {
public:
  /// A window closes after `steps` steps, `maxAgeNs` after its first one, or at 2^30 tokens.
  WindowBuilder(uint32_t steps, int64_t maxAgeNs);

  void add(const LayerObservation &sample, int64_t nowNs);
  /// The windows that are complete by now, in order of layer and bucket for those closed by age.
  std::vector<Window> take(int64_t nowNs);

private:
  struct Open {
    Window window;
    std::vector<uint64_t> layerNs;
    int64_t sinceNs = 0;
  };
  void close(Open &open);

  uint32_t stepsPerWindow;
  uint32_t stepsPerSpecimen;
  int64_t maxAgeNs;
  std::map<std::pair<uint32_t, uint32_t>, Open> open; // by layer and bucket
  std::vector<Window> closed;
};

} // namespace moec
