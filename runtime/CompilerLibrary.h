// Opening libmoec-compiler.so.
#pragma once

#include "runtime/Compiler.h"

namespace moec {

/// Opens the library and binds its call. Errors: DeviceMissing, naming the path and the loader's reason; Failure (it is
/// no compiler of this version).
Result<CompilerCall> openCompilerLibrary(const std::string &path);

} // namespace moec
