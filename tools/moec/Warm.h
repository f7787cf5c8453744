// `moec cache warm`: compiles what a session would ask for when it is opened.
#pragma once

#include "tools/moec/Setup.h"

#include <string>
#include <vector>

namespace moec::tool {

struct WarmOptions {
  std::vector<std::string> models;
  std::string target = "cpu", format = "text";
  uint32_t threads = 0, tokens = 256, layers = 0;
  CacheOptions cache;
};

void addWarmOptions(CLI::App *verb, WarmOptions &options);

/// Opens a session on each model as a host program would, with weights that cost nothing. Errors: as Session::open.
Status runWarm(const WarmOptions &options, const Tool &tool);

} // namespace moec::tool
