// What products leave in the counters that they draw tiles from.
#pragma once

#include "compiler/kernels/KernelAbi.h"

#include <algorithm>

namespace moec::emulation {

/// Whether any of a launch's counters is not zero.
inline bool leavesCounters(const uint32_t *counters) {
  return std::any_of(counters, counters + kTileCounters, [](uint32_t counter) { return counter != 0; });
}

} // namespace moec::emulation
