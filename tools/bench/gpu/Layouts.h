// Where this GPU puts elements of fragments, swizzled tiles and the like, for the emulator to be compared with
// (tests/emulation/hardware).
#pragma once

#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"

namespace moec::bench {

/// Compiles the kernels of tests/emulation/hardware/layouts.cuh into `folder`. Needs no GPU; target sm_90a.
Status buildLayouts(const std::string &folder);

/// Runs them and writes their words to `jsonPath`, as tests/emulation/hardware/README.md describes.
/// Errors: NotFound (buildLayouts has not run), DeviceMissing (the GPU is no Hopper), Failure (the driver's).
Status dumpLayouts(Device &device, Bundle &bundle, const std::string &jsonPath);

} // namespace moec::bench
