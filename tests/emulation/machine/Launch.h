// Runs a kernel.
#pragma once

#include "tests/emulation/machine/Block.h"

namespace moec::emulation {

/// Runs `kernel` in every thread of every block, in the order that `seed` decides. What the launches before have
/// written is there. Returns what went wrong first, if anything did.
std::optional<Failure> launch(DeviceMemory &device, const LaunchShape &shape, uint64_t seed,
                              const std::function<void()> &kernel);

} // namespace moec::emulation
