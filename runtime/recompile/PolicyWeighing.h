// Private to the policy: what one look at a layer found.
#pragma once

#include "runtime/recompile/Policy.h"

#include <algorithm>
#include <vector>

namespace moec {

/// What one look at a layer found.
struct Policy::Weighing {
  std::vector<BucketMix> mix;
  LayerStatistics statistics;
  double liveNs = 0;
  std::vector<Choice> choices; // table, reuse, best: cheapest first
  size_t top = 0;              // the one that is weighed against its cost

  const BucketMix &main() const {
    return *std::find_if(mix.begin(), mix.end(),
                         [&](const BucketMix &part) { return part.bucket == statistics.bucket; });
  }
};

/// What a change is remembered by where it failed or measured worse.
std::string backOffKey(uint32_t layer, Verdict verdict, const LayerPlan &plan);

} // namespace moec
