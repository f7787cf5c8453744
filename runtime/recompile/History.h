// A layer's recent windows: what routing looks like now, and what another plan would have saved.
#pragma once

#include "runtime/monitor/Window.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace moec {

/// One bucket's part of a layer's recent steps.
struct BucketMix {
  uint32_t bucket = 0;
  uint32_t steps = 0; // that the typical step is the mean of
  double weight = 0;  // share of recent steps; all buckets' weights add up to 1
  Histogram typical;
  std::vector<uint32_t> peak;       // [E] most pairs in one of these steps
  std::vector<Histogram> specimens; // steps as they were, newest first; at least one
};

/// Total variation between two samples of one distribution that chance alone explains, for numbers
/// of pairs `a` and `b` over `experts` experts: the expectation for experts of equal share.
double samplingNoise(uint64_t a, uint64_t b, size_t experts);

/// Bounded: when it is full, the two most alike neighbours are merged, so that long stretches of
/// the same routing cost one entry and a change of phase is never averaged away.
class History {
public:
  explicit History(double driftFloor, size_t most = 64) : driftFloor(driftFloor), most(most) {}

  /// `liveNs` is what the live plan is predicted to take for each of the window's specimens.
  void add(const Window &window, std::span<const double> liveNs);
  /// The generation has changed: regret starts again at nothing, what routing looks like is kept.
  void changed();
  bool empty() const { return entries.empty(); }

  /// The buckets of the last windows, newer ones weighing more, each with the typical step of its
  /// latest stretch of like routing. By bucket.
  std::vector<BucketMix> recent() const;

  /// Nanoseconds that a plan predicted by `predict` would have saved since the last change, counted
  /// from the moment that serves it best. Stretches in which the live plan is the better one take
  /// their part away again: only so does routing that swings faster than a change repays leave the
  /// generation alone.
  double regretNs(const std::function<double(const Histogram &)> &predict) const;

private:
  /// A step as it was, standing for `steps` steps.
  struct Specimen {
    Histogram step;
    double steps = 0;
    double liveNs = 0; // of one step
  };
  struct Entry {
    uint32_t bucket = 0;
    uint64_t steps = 0;
    uint64_t tokens = 0;
    std::vector<uint64_t> pairs;
    std::vector<uint32_t> peak;
    std::vector<Specimen> specimens; // newest last
    bool sinceChange = true;
  };
  bool alike(const Entry &a, const Entry &b) const;
  static void merge(Entry &into, const Entry &other);
  static void thin(Entry &entry);
  void makeRoom();

  double driftFloor;
  size_t most;
  std::vector<Entry> entries; // oldest first
};

} // namespace moec
