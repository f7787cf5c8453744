// Fixed inputs of validations, and how far results are apart.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moec {

/// Numbers that look random and never change: a splitmix64 of the index, in [-1, 1).
float noise(uint64_t index);
/// [tokens, columns] of them, in `dtype`.
std::vector<std::byte> noiseRows(uint32_t tokens, uint32_t columns, DType dtype);

/// Relative L2 distance of two arrays of `bytes` bytes; infinite where one has a NaN that the other has not.
double relativeDistance(const std::byte *a, const std::byte *reference, uint64_t bytes, DType dtype);

} // namespace moec
