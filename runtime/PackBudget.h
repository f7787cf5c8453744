// How much memory packed weights may take.
#pragma once

#include "compiler/core/Plan.h"

#include <cstdint>
#include <string>

namespace moec {

/// A share of all experts' packed weights, or a number of bytes for all layers together.
struct PackBudget {
  double share = 1.0;          // used unless `bytes` is set
  uint64_t bytes = UINT64_MAX; // UINT64_MAX: not set

  /// "40%", "1073741824", "512MiB", "2GiB". Errors: InvalidArgument.
  static Result<PackBudget> parse(const std::string &text);

  /// Bytes for one layer whose experts take `layerBytes` packed, out of `allBytes` in all layers: layers get the
  /// same share.
  uint64_t ofLayer(uint64_t layerBytes, uint64_t allBytes) const;
};

} // namespace moec
