// The GPUs of this machine, as sessions see them.
#pragma once

#include "compiler/core/TargetFacts.h"

#include <string>
#include <vector>

namespace moec::tool {

struct GpuReport {
  std::string device;  // as --device takes it, "cuda:0"
  std::string model;   // what the driver calls it
  std::string problem; // why it cannot be used; empty: it can
  TargetFacts facts;   // where it can
};

/// Empty without a driver, and in builds without CUDA's headers. Enters each GPU's context: some tenths of a second.
std::vector<GpuReport> examineGpus();

} // namespace moec::tool
