// Runs a kernel.
#pragma once

#include "tests/emulation/machine/Block.h"

namespace moec::emulation {

/// Runs `kernel` in every thread of every block, in the order that `seed` decides. What the launches before have
/// written is there. Returns what went wrong first, if anything did.
std::optional<Failure> launch(DeviceMemory &device, const LaunchShape &shape, uint64_t seed,
                              const std::function<void()> &kernel);

/// Two launches, of which the second begins as soon as all blocks of the first have let it (programmatic dependent
/// launch): their blocks run at the same time, in one order of random turns.
std::optional<Failure> launchOverlapped(DeviceMemory &device, const LaunchShape &first,
                                        const std::function<void()> &firstKernel, const LaunchShape &second,
                                        const std::function<void()> &secondKernel, uint64_t seed);

} // namespace moec::emulation
