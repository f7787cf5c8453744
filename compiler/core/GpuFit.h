// Calibrating a GPU: what to measure on it, and the calibration that the measurements make.
#pragma once

#include "compiler/core/CudaCost.h"

#include <cstdint>
#include <span>
#include <vector>

namespace moec {

/// What a case tells about.
enum class GpuCaseKind : uint8_t {
  Launch,   // a GEMM without rows
  Tile,     // a tile class with the whole device at work: two lengths of the sum tell steps from what is fixed
  Memory,   // one row for each of many experts
  OneSm,    // few tiles of long sums: each multiprocessor at its own limit
  Overlap,  // arithmetic and memory about equally long
  Copy,     // `amount` bytes read and as many written
  Dispatch, // `amount` pairs sorted by expert, uniform over 64 experts
};

/// One measurement. GEMMs are down's kind: `gemm.n` outputs, rows as they lie, weights [rows.size(), n, k]; weights
/// must come from memory, so repeats of Memory, OneSm and Overlap need a cold cache (other weights each time, or a
/// write of 2 * l2Bytes between them).
struct GpuCase {
  GpuCaseKind kind = GpuCaseKind::Launch;
  CudaTile tile;
  CudaGemm gemm;
  std::vector<uint32_t> rows; // of each expert
  uint64_t amount = 0;

  bool operator==(const GpuCase &) const = default;
};

struct GpuSample {
  GpuCase what;
  double ns = 0; // median of some repeats, of one kernel in a stream of its like; dispatch: of all its launches
};

/// What to measure on a device: below 80 cases of at most 3 ms each, so that ten repeats of all take below a second.
/// Needs 1 GiB for weights and 128 MiB for rows and outputs.
std::vector<GpuCase> calibrationCases(const TargetFacts &facts);

/// The calibration under which the model predicts the samples: medians where several tell about one figure. What no
/// sample tells about keeps its assumed figure; a tile class without samples is not in it (and so not planned with), if
/// any has.
///
/// Pure. Samples that are not positive and finite are left out.
GpuCalibration fitGpuCalibration(std::span<const GpuSample> samples, const TargetFacts &facts);

} // namespace moec
