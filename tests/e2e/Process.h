// What the programs of warm_cache.py do alike.
#pragma once

#include "compiler/core/Status.h"

#include <cstdio>
#include <fstream>
#include <string>

/// Whether this process has mapped a file whose path contains `library`.
inline bool isMapped(const std::string &library) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find(library) != std::string::npos)
      return true;
  return false;
}

/// Says why, and gives the exit code for it.
inline int fail(const moec::Status &status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return moec::exitCode(status.code());
}
