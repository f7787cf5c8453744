// Matrices in e4m3 with an f32 scale for each 128 by 128 elements, made here from numbers that are stored otherwise.
#pragma once

#include "runtime/weights/WeightSource.h"

#include <functional>

namespace moec {

/// Quantises up to 128 rows of a matrix. Each block of 128 columns (the last one may be narrower) gets the scale
/// largest magnitude / 448 and the codes of its elements / scale, to nearest, ties to even (a GPU
/// multiplies by 448 / largest instead, which next to a tie may give the other code). As there
/// (compiler/kernels/Fp8Abi.h), blocks whose elements are all smaller count as if their largest were 2^-100; NaN and
/// infinities become NaN and do not count for the scale.
///
/// values    [rows, columns], row-major
/// elements  [rows, columns]
/// scales    [ceil(columns / 128)]
///
/// Thread-safe.
void quantiseE4M3Rows(std::span<const float> values, uint64_t columns, uint8_t *elements, float *scales);

/// The numbers that such rows stand for: each element times its block's scale, rounded to f32. Shapes as above.
/// Thread-safe.
void widenE4M3Rows(const uint8_t *elements, const float *scales, uint64_t columns, std::span<float> values);

/// Gives the matrix's rows from `first` on, as many as `to` has room for.
using RowReader = std::function<Status(uint64_t first, std::span<float> to)>;

/// Quantises a matrix whose rows are read 128 at a time, so that f32 copies stay small; shapes as
/// WeightSource::readBlockE4M3. Errors: those of `readRows`.
Status quantiseE4M3(const BlockGrid &grid, const RowReader &readRows, std::span<uint8_t> elements,
                    std::span<float> scales);

/// `values`, [rows, columns], become what is left of them in e4m3: what readers of such a weight see. Thread-safe.
void roundThroughE4M3(std::span<float> values, uint64_t columns);

} // namespace moec
