#include "compiler/core/Histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moec {

static uint64_t sum(std::span<const uint32_t> pairs) {
  return std::accumulate(pairs.begin(), pairs.end(), uint64_t{0});
}

uint64_t Histogram::total() const { return sum(pairs); }

uint32_t Histogram::busiest() const { return pairs.empty() ? 0 : *std::max_element(pairs.begin(), pairs.end()); }

Histogram Histogram::uniform(uint32_t tokens, uint32_t topK, uint32_t experts) {
  Histogram histogram{tokens, std::vector<uint32_t>(experts, 0)};
  if (experts == 0)
    return histogram;
  uint64_t total = uint64_t{tokens} * topK;
  for (uint32_t expert = 0; expert < experts; ++expert)
    histogram.pairs[expert] = static_cast<uint32_t>(total / experts + (expert < total % experts));
  return histogram;
}

double totalVariation(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  double sumA = static_cast<double>(sum(a)), sumB = static_cast<double>(sum(b));
  if (a.size() != b.size() || sumA == 0 || sumB == 0)
    return 0;
  double moved = 0;
  for (size_t expert = 0; expert < a.size(); ++expert)
    moved += std::abs(a[expert] / sumA - b[expert] / sumB);
  return moved / 2;
}

double imbalance(std::span<const uint32_t> pairs) {
  uint64_t total = sum(pairs);
  if (total == 0)
    return 0;
  double mean = static_cast<double>(total) / static_cast<double>(pairs.size());
  return *std::max_element(pairs.begin(), pairs.end()) / mean;
}

} // namespace moec
