#include "runtime/CompilerSetup.h"

#include <algorithm>
#include <iterator>
#include <thread>

namespace moec {
namespace {

/// The number of a MOEC_LOG level, as the compiler's callback counts; "" is warn.
int logThreshold(const std::string &name) {
  constexpr const char *levels[] = {"trace", "debug", "info", "warn", "error", "off"};
  const auto found = std::find(std::begin(levels), std::end(levels), name);
  return found == std::end(levels) ? 3 : static_cast<int>(found - std::begin(levels));
}

} // namespace

JitOptions jitOptions(const Environment &environment) {
  JitOptions jit;
  jit.nvrtcOnly = environment.nvrtcOnly;
  jit.nvrtcAlso = environment.nvrtcAlso;
  jit.nvrtcFlags = environment.nvrtcFlags;
  jit.threads = environment.jitThreads ? environment.jitThreads : std::max(1u, std::thread::hardware_concurrency());
  jit.memoryMib = environment.jitMemoryMib ? environment.jitMemoryMib : jit.memoryMib;
  return jit;
}

Result<std::shared_ptr<Compiler>> openCompiler(const Environment &environment, const std::string &cacheFolder,
                                               std::function<void(std::string_view line)> log) {
  Compiler::Options options;
  options.library = defaultCompilerLibrary(environment.compilerLibrary);
  options.jit = jitOptions(environment);
  if (log)
    options.log = [least = logThreshold(environment.log), log = std::move(log)](int level, std::string_view text) {
      if (level >= least)
        log(text);
    };
  if (!cacheFolder.empty()) {
    Result<CacheStore> cache = CacheStore::open(cacheFolder);
    if (!cache)
      return cache.status();
    options.cache = std::make_shared<CacheStore>(std::move(*cache));
  }
  return std::make_shared<Compiler>(std::move(options));
}

} // namespace moec
