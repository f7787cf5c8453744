// A compiler as the environment describes it: for tools, and for host programs that ask for that.
#pragma once

#include "runtime/Compiler.h"
#include "runtime/Environment.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace moec {

/// How kernels for GPUs are compiled, as the environment says; with as many threads as the machine has, where it is
/// silent.
JitOptions jitOptions(const Environment &environment);

/// A compiler with the cache in `cacheFolder` (empty: none), whose lines from MOEC_LOG up go to `log` (which may be
/// empty). Errors: those of CacheStore::open.
Result<std::shared_ptr<Compiler>> openCompiler(const Environment &environment, const std::string &cacheFolder,
                                               std::function<void(std::string_view line)> log);

} // namespace moec
