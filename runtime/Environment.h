// The environment, read in this one place and once; what it says is handed in from there.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moec {

/// What MOEC_* variables say (docs/environment.md). An unset or empty variable leaves its field as it is here.
struct Environment {
  std::string cacheDir;        // MOEC_CACHE_DIR, else $XDG_CACHE_HOME/moec, else ~/.cache/moec; empty without a home
  std::string compilerLibrary; // MOEC_COMPILER_LIBRARY
  std::string log;             // MOEC_LOG: trace, debug, info, warn, error or off
  uint32_t threads = 0;        // MOEC_NUM_THREADS; 0: not set
  std::vector<std::string> nvrtcOnly; // MOEC_NVRTC_PATH, at its colons
  std::vector<std::string> nvrtcAlso; // CUDA_HOME, CUDA_PATH, VIRTUAL_ENV, CONDA_PREFIX: where a libnvrtc may be too
  std::string nvrtcFlags;             // NVRTC_PREPEND_FLAGS and NVRTC_APPEND_FLAGS, which NVRTC obeys by itself
  uint32_t jitThreads = 0;            // MOEC_JIT_THREADS; 0: not set
  uint32_t jitMemoryMib = 0;          // MOEC_JIT_MEMORY_MIB; 0: not set
  bool noColour = false;              // NO_COLOR, set to anything
  std::map<std::string, std::string> variables; // every MOEC_* that is set, known or not
  std::vector<std::string> warnings; // one sentence for each MOEC_* that is unknown or has a value of no sense, and for
                                     // flags that change what NVRTC makes

  /// Reads a null-terminated array as `environ`.
  static Environment read(const char *const *variables);
};

} // namespace moec
