// `moec compile --explain` for GPU targets: which tile each product got, what else there was, and what the kernels take.
#pragma once

#include "compiler/core/Package.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace moec::tool {

/// One product of a layer, and its tiles.
struct TileChoice {
  LaunchKind launch;
  CudaTile tile;
  struct Other {
    CudaTile tile;
    double predictedNs; // of a step, with this tile in the other's place
  };
  std::vector<Other> runnersUp; // cheapest first
};

/// The products of a layer, each with the `most` tiles that come closest to the chosen one.
std::vector<TileChoice> tileChoices(const LayerPackage &layer, const TargetFacts &facts, const Calibration &calibration,
                                    size_t most);

std::string cudaExplanationText(const Package &package, const Calibration &calibration, const std::string &calibrationSource);
nlohmann::json cudaExplanationJson(const Package &package, const Calibration &calibration,
                                   const std::string &calibrationSource);

/// The kernels of a package, a line each: registers, threads, memory, size, and what compiling took.
std::string kernelLines(const Package &package);

} // namespace moec::tool
