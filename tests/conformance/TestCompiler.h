// The compiler that whole-path tests use.
#pragma once

#include "runtime/Compiler.h"

#include <memory>

namespace moec::conformance {

/// The library that MOEC_TEST_COMPILER names, with NVRTC as the environment says and all processors for it. Keeps what
/// it builds in the folder that MOEC_TEST_CACHE names, if it names one.
std::shared_ptr<Compiler> testCompiler();

} // namespace moec::conformance
