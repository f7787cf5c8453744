// What was measured on one GPU: the part of a Calibration that PlanCuda turns into nanoseconds.
#pragma once

#include "compiler/core/Config.h"
#include "compiler/core/Json.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace moec {

/// What a tile class costs on one multiprocessor whose operands arrive in time.
struct CudaTileCost {
  CudaTile tile;
  double stepNs = 0;  // of 64 elements of the sum, with all rows of the tile valid and the multiprocessor full
  double fixedNs = 0; // of a tile besides its steps: pipeline fill and epilogue, as far as no other block hides them

  bool operator==(const CudaTileCost &) const = default;
};

/// Measured costs of one GPU; docs/planner-gpu.md has the formulas. Rates are of the whole device but where said
/// otherwise.
struct GpuCalibration {
  std::vector<CudaTileCost> tiles; // what is planned with; empty: all that fit the target, at assumed costs
  double memoryBytesPerNs = 0;     // weights read from device memory
  double perSmBytesPerNs = 0;      // the most that one multiprocessor takes in
  double copyBytesPerNs = 0;       // a copy: bytes read and written
  double overlapLoss = 0;       // 0 to 1: how badly arithmetic and memory hide each other where they take equally long
  double launchNs = 0;          // one more kernel in a step: from the last one's end to its own loads
  double dispatchNs = 0;        // dispatch of up to 4,096 pairs, besides its launch
  double dispatchNsPerPair = 0; // what each pair adds to that
  double dispatchGridNs = 0;    // dispatch of more, its launches included

  /// Data-sheet rates times the shares that our kernels reach on an H200, for every tile class of the target.
  static GpuCalibration assumed(const TargetFacts &facts);
  /// Whether the assumed figures were fitted to layers that such a card ran: one with all facts of an H100 or an H200.
  /// Plans made with them are then no worse than with a few seconds of measuring (docs/planner-gpu.md), so nobody is
  /// made to wait for that.
  static bool fittedToHardware(const TargetFacts &facts);

  /// The measured cost of the tile's class; the assumed one where it was not measured, of e4m3 by the ratio at which
  /// the quickest class of two-byte elements was measured.
  CudaTileCost costOf(const CudaTile &tile, const TargetFacts &facts) const;

  /// The rate of the quickest tile of two-byte elements on the whole device, in steps whose operands have arrived.
  double matrixFlopsPerNs(const TargetFacts &facts) const;

  bool operator==(const GpuCalibration &) const = default;
};

/// What a GPU's calibration belongs to in the cache: the target, what its kernels multiply, and the build.
std::string gpuCalibrationKey(const TargetFacts &facts, DType element, const std::string &buildId);

/// What a tile class costs by its family's rule.
CudaTileCost assumedTileCost(const CudaTile &tile, const TargetFacts &facts);

/// The "gpu" object of a calibration, in files and traces alike (docs/formats.md). Reading leaves errors with the
/// document.
nlohmann::ordered_json toJson(const GpuCalibration &gpu);
GpuCalibration readGpuCalibration(const JsonValue &json);

} // namespace moec
