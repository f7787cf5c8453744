#include "runtime/recompile/History.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>

namespace moec {

namespace {

constexpr size_t recentWindows = 16;  // that the mix of buckets is taken from
constexpr double fading = 0.8;        // a window weighs this much of the next newer one
constexpr size_t mostSpecimens = 16;  // that predictions are the mean of
constexpr uint64_t enoughSteps = 256; // for a typical step; older windows add nothing but lag

double totalVariation(const std::vector<uint64_t> &a, const std::vector<uint64_t> &b) {
  double sumA = static_cast<double>(std::accumulate(a.begin(), a.end(), uint64_t{0}));
  double sumB = static_cast<double>(std::accumulate(b.begin(), b.end(), uint64_t{0}));
  if (a.size() != b.size() || sumA == 0 || sumB == 0)
    return 0;
  double moved = 0;
  for (size_t expert = 0; expert < a.size(); ++expert)
    moved += std::abs(static_cast<double>(a[expert]) / sumA - static_cast<double>(b[expert]) / sumB);
  return moved / 2;
}

uint64_t total(const std::vector<uint64_t> &pairs) { return std::accumulate(pairs.begin(), pairs.end(), uint64_t{0}); }

} // namespace

double samplingNoise(uint64_t a, uint64_t b, size_t experts) {
  if (a == 0 || b == 0)
    return 1;
  // Each expert's share differs by a normal of variance p(1/a + 1/b), whose mean size is sqrt(2/pi)
  // of its deviation; summed over E experts of share 1/E and halved. sqrt is exact in IEEE 754, so
  // replays agree.
  constexpr double pi = 3.14159265358979323846;
  double perPair = 1 / static_cast<double>(a) + 1 / static_cast<double>(b);
  return std::min(1.0, std::sqrt(static_cast<double>(experts) * perPair / (2 * pi)));
}

bool History::alike(const Entry &a, const Entry &b) const {
  double noise = samplingNoise(total(a.pairs), total(b.pairs), a.pairs.size());
  return a.bucket == b.bucket && totalVariation(a.pairs, b.pairs) <= driftFloor + 2 * noise;
}

void History::merge(Entry &into, const Entry &other) {
  into.steps += other.steps;
  into.tokens += other.tokens;
  for (size_t expert = 0; expert < into.pairs.size(); ++expert) {
    into.pairs[expert] += other.pairs[expert];
    into.peak[expert] = std::max(into.peak[expert], other.peak[expert]);
  }
}

/// Halves an entry's specimens: every other one stands for its neighbour's steps too.
void History::thin(Entry &entry) {
  std::vector<Specimen> kept;
  for (size_t i = 0; i < entry.specimens.size(); i += 2) {
    bool last = i + 1 == entry.specimens.size();
    kept.push_back(std::move(entry.specimens[last ? i : i + 1]));
    if (!last)
      kept.back().steps += entry.specimens[i].steps;
  }
  entry.specimens = std::move(kept);
}

void History::add(const Window &window, std::span<const double> liveNs) {
  Entry entry;
  entry.bucket = window.bucket;
  entry.steps = window.steps;
  entry.tokens = window.tokens;
  entry.pairs.assign(window.pairs.begin(), window.pairs.end());
  entry.peak = window.peak;
  double steps = static_cast<double>(window.steps) / static_cast<double>(window.specimens.size());
  for (size_t i = 0; i < window.specimens.size(); ++i)
    entry.specimens.push_back({window.specimens[i], steps, liveNs[i]});
  entries.push_back(std::move(entry));
  if (entries.size() > most)
    makeRoom();
}

void History::makeRoom() {
  // The newer windows stay apart, so that drift is seen at once.
  size_t older = entries.size() - std::min(entries.size(), recentWindows);
  size_t best = entries.size();
  double bestDistance = 2;
  for (size_t i = 0; i + 1 < older; ++i) {
    if (entries[i].bucket != entries[i + 1].bucket || entries[i].sinceChange != entries[i + 1].sinceChange)
      continue;
    double distance = totalVariation(entries[i].pairs, entries[i + 1].pairs);
    if (distance < bestDistance) {
      bestDistance = distance;
      best = i;
    }
  }
  if (best == entries.size()) {
    entries.erase(entries.begin());
    return;
  }
  Entry &into = entries[best], &other = entries[best + 1];
  merge(into, other);
  std::move(other.specimens.begin(), other.specimens.end(), std::back_inserter(into.specimens));
  if (into.specimens.size() > 4)
    thin(into);
  entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(best) + 1);
}

void History::changed() {
  for (Entry &entry : entries)
    entry.sinceChange = false;
}

std::vector<BucketMix> History::recent() const {
  std::map<uint32_t, Entry> stretches;
  std::map<uint32_t, double> weights;
  std::map<uint32_t, bool> ended;
  std::map<uint32_t, std::vector<Histogram>> specimens;
  double weight = 1, sum = 0;
  size_t seen = 0;
  for (auto entry = entries.rbegin(); entry != entries.rend() && seen < recentWindows; ++entry, ++seen) {
    double part = weight * static_cast<double>(entry->steps);
    weights[entry->bucket] += part;
    sum += part;
    weight *= fading;
    auto [found, isNew] = stretches.emplace(entry->bucket, *entry);
    std::vector<Histogram> &steps = specimens[entry->bucket];
    bool &over = ended[entry->bucket];
    if (!isNew && !over) {
      over = found->second.steps >= enoughSteps || !alike(found->second, *entry);
      if (!over)
        merge(found->second, *entry);
    }
    for (auto specimen = entry->specimens.rbegin(); !over && specimen != entry->specimens.rend(); ++specimen)
      if (steps.size() < mostSpecimens)
        steps.push_back(specimen->step);
  }
  std::vector<BucketMix> mix;
  for (auto &[bucket, stretch] : stretches)
    mix.push_back({bucket, static_cast<uint32_t>(stretch.steps), sum > 0 ? weights[bucket] / sum : 0,
                   typicalStep(stretch.tokens, stretch.pairs, stretch.steps), std::move(stretch.peak),
                   std::move(specimens[bucket])});
  return mix;
}

double History::regretNs(const std::function<double(const Histogram &)> &predict) const {
  double regret = 0;
  for (const Entry &entry : entries)
    if (entry.sinceChange)
      for (const Specimen &specimen : entry.specimens)
        regret = std::max(0.0, regret + (specimen.liveNs - predict(specimen.step)) * specimen.steps);
  return regret;
}

} // namespace moec
