// What lies in a cache folder, without opening, making or changing it.
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <map>
#include <string>

namespace moec::tool {

struct KindUsage {
  uint64_t entries = 0, bytes = 0;
};

struct CacheUsage {
  bool exists = false;
  std::map<std::string, KindUsage> kinds; // packages, kernels, ... by name
  uint64_t temporaries = 0;               // files that are being written, or were when a process died

  KindUsage total() const;
};

/// Counts by name and size; checks nothing. A folder that does not exist is empty. Error: Failure (it cannot be read).
Result<CacheUsage> cacheUsage(const std::string &folder);

} // namespace moec::tool
