// What products leave in the counters that they draw tiles from.
#pragma once

#include "compiler/kernels/KernelAbi.h"

#include <algorithm>

namespace moec::emulation {

/// Whether any counter of so many launches is not zero.
inline bool leavesCounters(const uint32_t *counters, uint32_t launches = 1) {
  return std::any_of(counters, counters + launches * kTileCounters, [](uint32_t counter) { return counter != 0; });
}

} // namespace moec::emulation
