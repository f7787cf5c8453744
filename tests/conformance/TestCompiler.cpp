#include "tests/conformance/TestCompiler.h"

#include "runtime/Environment.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include <unistd.h>

namespace moec::conformance {

std::shared_ptr<Compiler> testCompiler() {
  const Environment environment = Environment::read(environ);
  Compiler::Options options;
  const char *library = std::getenv("MOEC_TEST_COMPILER");
  options.library = library ? library : "";
  options.jit.nvrtcOnly = environment.nvrtcOnly;
  options.jit.nvrtcAlso = environment.nvrtcAlso;
  options.jit.threads = std::max(1u, std::thread::hardware_concurrency());
  options.jit.memoryMib = std::max(options.jit.memoryMib, 512 * options.jit.threads);
  if (const char *folder = std::getenv("MOEC_TEST_CACHE"))
    if (Result<CacheStore> cache = CacheStore::open(folder); cache)
      options.cache = std::make_shared<CacheStore>(std::move(*cache));
  return std::make_shared<Compiler>(std::move(options));
}

} // namespace moec::conformance
