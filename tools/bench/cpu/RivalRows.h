// What an expert loop around a matrix library has to do itself: the activation between the products, and the weighted
// sum.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>

namespace moec::bench {

/// out[i] = silu(gateUp[i]) * gateUp[columns + i]. Both of `dtype` (BF16 or F32).
void siluMultiply(const void *gateUp, void *out, uint32_t columns, DType dtype);

/// out[column] = sum over k of weights[k] * rows[k][column], summed in f32 with k ascending.
void weightedSum(const void *const *rows, const float *weights, uint32_t count, void *out, uint32_t columns,
                 DType dtype);

} // namespace moec::bench
