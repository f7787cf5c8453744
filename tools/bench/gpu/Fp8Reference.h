// e4m3 on the host: what quantise.cuh must give, and products in float64 of what it gave.
#pragma once

#include "tools/bench/gpu/Reference.h"

#include <random>

namespace moec::bench {

/// The value of float8_e4m3fn bits.
float fp8Value(uint8_t bits);
/// The nearest e4m3, ties to even; 448 beyond it, 0x7f for NaN.
uint8_t toFp8(float value);

/// e4m3 rows with scales as the kernels take them.
struct Fp8Rows {
  uint32_t columns = 0;
  size_t stride = 0;             // of the scales: number of rows, rounded up to 4
  std::vector<uint8_t> elements; // [rows, columns]
  std::vector<float> scales;     // [ceil(columns / 128), stride]

  double at(size_t row, uint32_t column) const {
    return double{fp8Value(elements[row * columns + column])} * scales[column / 128 * stride + row];
  }
};

/// Rows of two-byte elements by the rule of QuantiseArgs.
Fp8Rows quantiseRows(const std::vector<uint16_t> &rows, uint32_t columns, bool bf16);
/// Row `slot` is that of pair slotPair[slot].
Fp8Rows gatherRows(const Fp8Rows &rows, const std::vector<int32_t> &slotPair, uint32_t topK);

/// Matrices as a checkpoint has them.
struct Fp8Weights {
  uint32_t rows = 0, columns = 0;
  std::vector<uint8_t> elements; // [matrices, rows, columns]
  std::vector<float> scales;     // [matrices, ceil(rows / 128), ceil(columns / 128)]

  uint32_t rowBlocks() const { return (rows + 127) / 128; }
  uint32_t columnBlocks() const { return (columns + 127) / 128; }
  double at(size_t matrix, uint32_t row, uint32_t column) const {
    return double{fp8Value(elements[(matrix * rows + row) * columns + column])} *
           scales[(matrix * rowBlocks() + row / 128) * columnBlocks() + column / 128];
  }
};

/// Normal values with deviation `scale`; blocks differ by up to four in what their largest element
/// stands for.
Fp8Weights drawFp8Weights(uint32_t matrices, uint32_t rows, uint32_t columns, double scale, std::mt19937_64 &random);

/// Rows of a slot's expert times that expert's weights: sum[slot, n].
std::vector<double> referenceFp8Product(const Fp8Rows &rows, const Fp8Weights &weights,
                                        const std::vector<int32_t> &expertBegin);

/// silu(gate) * up of a slot's row: [slot, I]. Gate and up are [E, I, H].
std::vector<double> referenceFp8Activated(const Fp8Rows &rows, const Fp8Weights &gate, const Fp8Weights &up,
                                          const std::vector<int32_t> &expertBegin);

/// Down's products of the activated rows, weighted and summed: [T, H]. pairWeights is [T, K].
std::vector<double> referenceFp8Combined(const Fp8Rows &activated, const Fp8Weights &down, const ReferenceSlots &slots,
                                         const std::vector<float> &pairWeights, uint32_t topK);

} // namespace moec::bench
