// `moec compile --explain` for GPU targets: which tile each product got, which others came next, and what the kernels
// take.
#pragma once

#include "compiler/core/Package.h"
#include "compiler/core/PlanCuda.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace moec::tool {

/// One product of a layer.
struct TileChoice {
  LaunchKind launch;
  CudaTile tile;
  double predictedNs; // of a step, for this product
};

/// The products of a layer as its plan has them.
std::vector<TileChoice> tileChoices(const LayerPackage &layer, const TargetFacts &facts,
                                    const Calibration &calibration);

/// The `most` pairs of tiles for gate-up and down that come closest to the plan's.
std::vector<CudaCandidate> runnersUp(const LayerPackage &layer, const TargetFacts &facts,
                                     const Calibration &calibration, size_t most);

std::string cudaExplanationText(const Package &package, const Calibration &calibration,
                                const std::string &calibrationSource);
nlohmann::json cudaExplanationJson(const Package &package, const Calibration &calibration,
                                   const std::string &calibrationSource);

/// The kernels of a package, a line each: registers, threads, memory, size, and what compiling took.
std::string kernelLines(const Package &package);

} // namespace moec::tool
