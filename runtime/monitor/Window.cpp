#include "runtime/monitor/Window.h"

#include <algorithm>
#include <numeric>

namespace moec {

Histogram typicalStep(uint64_t tokens, std::span<const uint64_t> pairs, uint64_t steps) {
  Histogram typical;
  typical.pairs.assign(pairs.size(), 0);
  if (steps == 0)
    return typical;
  typical.tokens = static_cast<uint32_t>((tokens + steps / 2) / steps);
  uint64_t sum = std::accumulate(pairs.begin(), pairs.end(), uint64_t{0});
  uint64_t left = (sum + steps / 2) / steps;
  std::vector<size_t> byRemainder(pairs.size());
  for (size_t expert = 0; expert < pairs.size(); ++expert) {
    byRemainder[expert] = expert;
    typical.pairs[expert] = static_cast<uint32_t>(pairs[expert] / steps);
    left -= typical.pairs[expert];
  }
  std::sort(byRemainder.begin(), byRemainder.end(), [&](size_t a, size_t b) {
    uint64_t restA = pairs[a] % steps, restB = pairs[b] % steps;
    return restA != restB ? restA > restB : a < b;
  });
  for (size_t i = 0; i < byRemainder.size() && i < left; ++i)
    ++typical.pairs[byRemainder[i]];
  return typical;
}

Histogram typicalStep(const Window &window) {
  std::vector<uint64_t> pairs(window.pairs.begin(), window.pairs.end());
  return typicalStep(window.tokens, pairs, window.steps);
}

WindowBuilder::WindowBuilder(uint32_t steps, int64_t maxAgeNs)
    : stepsPerWindow(std::max(steps, 1u)), maxAgeNs(maxAgeNs) {
  // Four tell a mean's error; each costs E counts in the trace.
  constexpr uint32_t specimensPerWindow = 4;
  stepsPerSpecimen = std::max(1u, stepsPerWindow / specimensPerWindow);
}

void WindowBuilder::add(const LayerObservation &sample, int64_t nowNs) {
  uint32_t bucket = sizeBucket(sample.tokens);
  Open &entry = open[{sample.layer, bucket}];
  Window &window = entry.window;
  if (window.steps == 0) {
    window.layer = sample.layer;
    window.bucket = bucket;
    window.pairs.assign(sample.pairs.size(), 0);
    window.peak.assign(sample.pairs.size(), 0);
    entry.layerNs.clear();
    entry.sinceNs = nowNs;
  }
  ++window.steps;
  window.tokens += sample.tokens;
  window.spilledPairs += sample.spilledPairs;
  if (window.steps % stepsPerSpecimen == 1 % stepsPerSpecimen)
    window.specimens.push_back({sample.tokens, {sample.pairs.begin(), sample.pairs.end()}});
  window.generation = sample.generation;
  for (size_t expert = 0; expert < sample.pairs.size(); ++expert) {
    window.pairs[expert] += sample.pairs[expert];
    window.peak[expert] = std::max(window.peak[expert], sample.pairs[expert]);
  }
  if (sample.layerNs)
    entry.layerNs.push_back(sample.layerNs);
  constexpr uint32_t mostTokens = 1u << 30; // sums stay far from 2^32 even with the largest step added
  if (window.steps >= stepsPerWindow || window.tokens >= mostTokens)
    close(entry);
}

void WindowBuilder::close(Open &entry) {
  if (!entry.layerNs.empty()) {
    auto middle = entry.layerNs.begin() + static_cast<std::ptrdiff_t>(entry.layerNs.size() / 2);
    std::nth_element(entry.layerNs.begin(), middle, entry.layerNs.end());
    entry.window.medianNs = *middle;
  }
  closed.push_back(std::move(entry.window));
  entry.window = {};
}

std::vector<Window> WindowBuilder::take(int64_t nowNs) {
  for (auto &[key, entry] : open)
    if (entry.window.steps && nowNs - entry.sinceNs >= maxAgeNs)
      close(entry);
  return std::exchange(closed, {});
}

} // namespace moec
