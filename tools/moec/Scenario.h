// Drift scenarios: which routing each step of a run has.
#pragma once

#include "compiler/core/LayerShape.h"
#include "tools/moec/Traffic.h"

#include <algorithm>

#include <string>
#include <vector>

namespace moec::tool {

/// A scenario has a steady part and a drifted part; both are endless.
///
///   none      zipf:1.5, the same in both parts
///   sudden    zipf:1.5, the hot experts move between the parts
///   load      64 tokens with uniform routing, then 8 with zipf:1.5: rows per expert change in number and skew
///   rotation  zipf:1.5; in the drifted part the order turns by one rank every 40 steps
///   square    zipf:1.5; in the drifted part two routings take turns every 60 steps
class Scenario {
public:
  /// `tokens` of the steady and the drifted part, from `--tokens`; one or none: the scenario's defaults.
  /// Errors: InvalidArgument.
  static Result<Scenario> make(const std::string &name, const LayerShape &shape, const std::vector<uint32_t> &tokens);

  uint32_t tokensBefore() const { return before; }
  uint32_t tokensAfter() const { return after; }
  uint32_t maxTokens() const { return std::max(before, after); }
  /// Step `index` of a part; drawn beforehand, a few different ones in turn.
  const RoutedStep &step(bool drifted, uint32_t index) const;

  /// The drifted part in a few steps: `samples()` different ones, evenly spread over it.
  uint32_t samples() const;
  const RoutedStep &sample(uint32_t index) const;

private:
  std::string name;
  uint32_t before = 0, after = 0;
  std::vector<RoutedStep> steady, drifted;
  uint32_t stepsPerDraw = 1; // of the drifted part
};

} // namespace moec::tool
