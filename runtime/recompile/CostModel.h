// What changing costs: measured milliseconds, smoothed, starting from an assumption.
#pragma once

#include "runtime/recompile/Records.h"

namespace moec {

/// What one build was asked to do, to attribute its report.
struct BuildSize {
  uint32_t layers = 0;   // with a new plan
  uint32_t compiled = 0; // of them, layers whose kernels had to be built
  uint64_t newlyPackedBytes = 0;
};

class CostModel {
public:
  explicit CostModel(const PolicyConfig &config);

  /// The cost of one layer's change. Packing is charged for the experts that were not packed
  /// before.
  ChangeCost of(Verdict verdict, uint64_t newlyPackedBytes) const;
  void learn(const BuildReport &report, const BuildSize &size);

private:
  void smooth(double &known, double measured) const { known += smoothing * (measured - known); }

  double smoothing;
  ChangeCost perLayer;
  double packNsPerByte;
};

/// Changes per minute, with bursts up to a minute's worth.
class RateLimit {
public:
  explicit RateLimit(double perMinute) : perMinute(perMinute), tokens(perMinute) {}

  /// Whether a change may be made at `nowNs`; `take` uses it up. Time may not go back.
  bool available(int64_t nowNs);
  void take() { tokens -= 1; }
  /// Seconds until the next one, for the reason.
  double waitSeconds() const { return perMinute > 0 ? (1 - tokens) * 60 / perMinute : 1e9; }

private:
  double perMinute;
  double tokens;
  int64_t lastNs = 0;
  bool started = false;
};

} // namespace moec
