// Times several ways to do the same steps side by side, so that what drifts slowly on the machine meets all alike.
#pragma once

#include "compiler/core/Status.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace moec::tool {

struct Contestant {
  std::string name;
  /// Called before each of its blocks, its time not counted; may be empty.
  std::function<Status()> enter;
  /// Runs step `index` of the block; nanoseconds.
  std::function<Result<uint64_t>(uint32_t index)> step;
};

struct ContestOptions {
  uint32_t repeats = 7;      // blocks of each contestant; below 6 the interval is a little under 95 %
  double blockSeconds = 0.3; // at least, and at least `fewestSteps` steps
  uint32_t fewestSteps = 5;
  /// Steps `index` and `index + period` do the same work. A block's time is the mean over the period of the medians of
  /// the steps that do the same, so neither a hiccup nor the luck of where a block ends decides. It runs whole periods.
  uint32_t period = 1;
  /// Rest before a block: the threads that served the contestant before spin until then, and would take cores.
  double restSeconds = 0.02;
  /// When these are over, the contest ends with the repeats it has, once they are `fewestRepeats`.
  double seconds = 1e9;
  static constexpr uint32_t fewestRepeats = 3;
};

/// Nanoseconds of a step, by contestant and repeat.
///
/// In each repeat every contestant has one block of steps, in an order that turns round with each repeat. A first round
/// and each block's first step are not counted: pages, caches and clocks warm up. Errors: those of `enter` and `step`.
Result<std::vector<std::vector<double>>> contest(const std::vector<Contestant> &contestants,
                                                 const ContestOptions &options);

/// A median and its 95 % interval by order statistics.
struct Interval {
  double median = 0, low = 0, high = 0;
};
Interval intervalOf(const std::vector<double> &values);

/// "0.983 (0.971 .. 0.995)".
std::string ratioText(const Interval &ratio);
/// {"ratio", "low", "high"}.
nlohmann::json ratioJson(const Interval &ratio);

/// a / b, repeat by repeat. Both have as many repeats, at least one.
Interval ratioOf(const std::vector<double> &a, const std::vector<double> &b);

} // namespace moec::tool
