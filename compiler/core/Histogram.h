// Pairs per expert: what one step's routing looks like, and the distances that show it to people.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moec {

/// Pairs per expert of one (typical) step of one layer.
struct Histogram {
  uint32_t tokens = 0;         // T of the step
  std::vector<uint32_t> pairs; // [E]; sums to T*K where no pair is padding

  uint64_t total() const;
  uint32_t busiest() const;
  /// Every expert gets T*K/E pairs; the remainder goes to the first experts.
  static Histogram uniform(uint32_t tokens, uint32_t topK, uint32_t experts);

  bool operator==(const Histogram &) const = default;
};

/// Total variation between two histograms' shares: half the summed change in share, so 0.3 reads
/// "30 % of the pairs now go elsewhere". An empty histogram has distance 0 to anything.
double totalVariation(std::span<const uint32_t> a, std::span<const uint32_t> b);

/// Busiest expert's pairs over the mean; 1 is balanced, E is "all pairs to one". 0 without pairs.
double imbalance(std::span<const uint32_t> pairs);

} // namespace moec
