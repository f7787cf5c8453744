// Row-wise loops around the GEMMs: staging hidden states, the shared expert's gate, storing outputs.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>

namespace moec {

/// Copies one row of `columns` elements into the compute dtype; the element after an odd last one becomes zero.
void stageRow(const void *from, DType dtype, void *to, DType compute, uint32_t columns);

/// sigmoid(row . gate); `row` in the compute dtype.
float sharedGateOf(const void *row, DType compute, const float *gate, uint32_t columns);

/// Rounds one row of f32 sums to the output's dtype.
void storeRow(const float *from, void *to, DType dtype, uint32_t columns);

} // namespace moec
