// What the verbs of moec-bench-loop share.
#pragma once

#include "tools/moec/BenchSession.h"
#include "tools/moec/Contest.h"

#include <vector>

namespace moec::bench {

/// Plans that differ from the live one in their kernels alone: other tile heights on a CPU, other tile classes on a
/// GPU. In an order of its own for each `seed`; not empty.
std::vector<LayerPlan> otherPlans(const tool::BenchSession &bench, uint32_t seed);

/// The value that `share` of the values do not exceed; `values` must not be empty.
double quantile(std::vector<double> values, double share);

/// A step's 99th percentile while a thread of the loop's class builds generations, against one that spins in its place.
Status runP99(const tool::BenchOptions &options);
/// What a swap costs the thread that makes it, and steps beside it.
Status runSwap(const tool::BenchOptions &options);

} // namespace moec::bench
