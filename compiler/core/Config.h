// The compile-time choices of a layer's kernels. A config is what codegen instantiates, what the cache key
// contains and what a trace shows.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/TargetFacts.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// Kernels of one layer on a CPU.
///
/// The GEMMs run over panels of two vectors of output columns (`2 * lanes`), K pairs of weights interleaved, and over
/// tiles of `tileRows[i]` rows; each height is a kernel of its own. All heights sum each output element in the
/// same order, so the choice of heights never changes a bit of a result.
struct CpuConfig {
  CpuIsa isa = CpuIsa::Avx2;
  DType compute = DType::BF16;     // F32 or BF16: what packed weights are kept in (F16 checkpoints: F32)
  std::vector<uint16_t> tileRows;  // descending, unique; the first is the tallest

  /// What the rows of activations between the GEMMs are kept in. Without a bf16 dot product, bf16 weights are widened in
  /// registers and meet f32 rows: half the bytes of f32 weights, at the full rate of f32 multiply-adds.
  DType rowDType() const { return isa == CpuIsa::Avx512Bf16 ? compute : DType::F32; }

  /// Canonical text, e.g. "cpu{isa=avx512bf16,compute=bf16,rows=14.8.4.2.1}".
  std::string text() const;
  bool operator==(const CpuConfig &) const = default;
};

/// Elements between two rows of an activation buffer with `columns` columns: a whole number of cache lines
/// and an odd one, so that the rows of a tile do not fall into the same cache sets.
uint32_t paddedStride(uint32_t columns, DType dtype);

/// Bytes of one packed panel: K (rounded up to a pair) times two vectors of columns.
uint64_t panelBytes(uint32_t k, uint32_t lanes, DType compute);

} // namespace moec
