// Holds two generations against each other on the same traffic, step by alternating step.
#pragma once

#include "runtime/Observation.h"
#include "runtime/recompile/Records.h"

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace moec {

/// Pairs each challenger step with the incumbent step next to it, of the same layer and size
/// bucket, so that what changes slowly (clock speed, neighbours on the machine) falls out of the
/// ratio. Each step's time counts relative to what the incumbent is predicted to take for its
/// routing, so that the luck of routing falls out too. One thread.
class Measurement {
public:
  /// `layers` are those whose plans differ. The first `warmUp` pairs of each layer are left out: a
  /// new generation's first steps fetch its pages and code.
  Measurement(uint64_t incumbent, uint64_t challenger, std::set<uint32_t> layers, uint32_t wantedPairs,
              std::function<double(uint32_t layer, const Histogram &step)> expectedNs, uint32_t warmUp = 4);

  void add(const LayerObservation &sample);
  /// Enough pairs to tell which is faster (few will do where the difference is plain), or four
  /// times as many as were wanted.
  bool done() const;
  uint64_t incumbentGeneration() const { return incumbent; }
  uint64_t challengerGeneration() const { return challenger; }

  /// Median of challenger / incumbent and its 95 % interval (order statistics, so no distribution
  /// is assumed).
  Measured result(int64_t nowNs) const;

private:
  struct Waiting {
    std::deque<double> incumbent, challenger; // relative times of steps without a partner yet
    uint32_t seen = 0;
  };

  uint64_t incumbent, challenger;
  std::set<uint32_t> layers;
  uint32_t wantedPairs;
  std::function<double(uint32_t, const Histogram &)> expectedNs;
  uint32_t warmUp;
  /// The median's interval, `deviations` standard deviations to each side.
  static std::pair<double, double> interval(const std::vector<double> &sorted, double deviations);

  std::map<std::pair<uint32_t, uint32_t>, Waiting> waiting; // by layer and bucket
  std::vector<double> ratios;
};

} // namespace moec
