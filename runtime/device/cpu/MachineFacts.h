// What this machine's CPU can do.
#pragma once

#include "compiler/core/TargetFacts.h"

namespace moec {

/// The facts of the machine this runs on: the widest usable vector extension, the processors this process may run on,
/// a core's L2 cache. `isa` is Avx2 even where AVX2 is missing; `cpuHasAvx2` tells.
TargetFacts thisMachine();
bool cpuHasAvx2();

/// The facts behind a `--target` name on this machine, to run on it.
/// Errors: InvalidArgument (unknown name), DeviceMissing (the CPU lacks what the name asks for).
Result<TargetFacts> runnableTarget(const std::string &name, uint32_t threads);

} // namespace moec
