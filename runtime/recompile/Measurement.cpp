#include "runtime/recompile/Measurement.h"

#include "runtime/monitor/Monitor.h"

#include <algorithm>
#include <cmath>

namespace moec {

Measurement::Measurement(uint64_t incumbent, uint64_t challenger, std::set<uint32_t> layers, uint32_t wantedPairs,
                         std::function<double(uint32_t, const Histogram &)> expectedNs, uint32_t warmUp)
    : incumbent(incumbent), challenger(challenger), layers(std::move(layers)),
      // Many layers give many pairs a step; each of them has to be seen as often as one alone would be.
      wantedPairs(wantedPairs * static_cast<uint32_t>(std::max<size_t>(1, this->layers.size()))),
      expectedNs(std::move(expectedNs)), warmUp(warmUp) {}

bool Measurement::done() const {
  if (ratios.size() < wantedPairs)
    return false;
  Measured measured = result(0);
  return measured.low > 1 || measured.high < 1 || ratios.size() >= 4 * size_t{wantedPairs};
}

void Measurement::add(const LayerObservation &sample) {
  bool isChallenger = sample.generation == challenger;
  if ((!isChallenger && sample.generation != incumbent) || sample.layerNs == 0 || !layers.count(sample.layer))
    return;
  double expected = expectedNs(sample.layer, {sample.tokens, {sample.pairs.begin(), sample.pairs.end()}});
  if (!(expected > 0))
    return;
  double mine = static_cast<double>(sample.layerNs) / expected;
  Waiting &pool = waiting[{sample.layer, sizeBucket(sample.tokens)}];
  std::deque<double> &own = isChallenger ? pool.challenger : pool.incumbent;
  std::deque<double> &other = isChallenger ? pool.incumbent : pool.challenger;
  if (other.empty()) {
    // Only neighbours make a pair: an old partner saw other traffic.
    constexpr size_t mostWaiting = 8;
    own.push_back(mine);
    if (own.size() > mostWaiting)
      own.pop_front();
    return;
  }
  double partner = other.front();
  other.pop_front();
  if (pool.seen++ < warmUp)
    return;
  ratios.push_back(isChallenger ? mine / partner : partner / mine);
}

Measured Measurement::result(int64_t nowNs) const {
  Measured measured;
  measured.nowNs = nowNs;
  measured.generation = challenger;
  measured.pairs = static_cast<uint32_t>(ratios.size());
  if (ratios.empty())
    return measured;
  std::vector<double> sorted = ratios;
  std::sort(sorted.begin(), sorted.end());
  size_t n = sorted.size();
  measured.ratio = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  // Ranks n/2 -+ 1.96 * sqrt(n)/2 of a binomial(n, 1/2).
  double reach = 0.98 * std::sqrt(static_cast<double>(n));
  double half = static_cast<double>(n) / 2;
  auto low = static_cast<size_t>(std::max(0.0, std::floor(half - reach)));
  auto high = static_cast<size_t>(std::min(static_cast<double>(n) - 1, std::ceil(half + reach)));
  measured.low = sorted[low];
  measured.high = sorted[high];
  return measured;
}

} // namespace moec
