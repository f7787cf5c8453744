#include "runtime/recompile/Measurement.h"

#include "runtime/monitor/Monitor.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace moec {

Measurement::Measurement(uint64_t incumbent, uint64_t challenger, std::set<uint32_t> layers, uint32_t wantedPairs,
                         std::function<double(uint32_t, const Histogram &)> expectedNs, uint32_t warmUp)
    : incumbent(incumbent), challenger(challenger), layers(std::move(layers)),
      // Many layers give many pairs a step; each of them has to be seen as often as one alone would
      // be.
      wantedPairs(wantedPairs * static_cast<uint32_t>(std::max<size_t>(1, this->layers.size()))),
      expectedNs(std::move(expectedNs)), warmUp(warmUp) {}

bool Measurement::done() const {
  // The first look is early, and every pair after it is another one: 3.3 deviations keep the chance
  // that one of them is wrong small. With 12 pairs it takes all of them on one side.
  constexpr size_t fewest = 12;
  if (ratios.size() < std::min<size_t>(fewest, wantedPairs))
    return false;
  std::vector<double> sorted = ratios;
  std::sort(sorted.begin(), sorted.end());
  auto [low, high] = interval(sorted, ratios.size() < wantedPairs ? 3.3 : 1.96);
  return low > 1 || high < 1 || ratios.size() >= 4 * size_t{wantedPairs};
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
  std::tie(measured.low, measured.high) = interval(sorted, 1.96);
  return measured;
}

std::pair<double, double> Measurement::interval(const std::vector<double> &sorted, double deviations) {
  // How many of n ratios lie below the median is binomial(n, 1/2), of deviation sqrt(n)/2.
  double last = static_cast<double>(sorted.size()) - 1;
  double half = static_cast<double>(sorted.size()) / 2;
  double reach = deviations / 2 * std::sqrt(static_cast<double>(sorted.size()));
  auto low = static_cast<size_t>(std::max(0.0, std::floor(half - reach)));
  auto high = static_cast<size_t>(std::min(last, std::ceil(half + reach)));
  return {sorted[low], sorted[high]};
}

} // namespace moec
