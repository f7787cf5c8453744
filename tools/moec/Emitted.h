// Kernels as files in a folder: what `moec compile --emit=cuda|ptx|cubin` leaves.
#pragma once

#include "compiler/core/Package.h"
#include "compiler/core/Status.h"

#include <string>

namespace moec::tool {

/// Writes the compiler's emitted files (docs/formats.md) into `folder`, which is made if it is not there, and says so;
/// all of them, one after the other, to stdout where it is "-" or empty.
Status writeEmitted(const std::string &folder, const std::string &emitted);

/// Writes each kernel of a GPU package to `folder`/NAME.cubin; how many bytes. Error: InvalidArgument for a CPU's
/// package.
Result<uint64_t> writeCubins(const std::string &folder, const Package &package);

} // namespace moec::tool
