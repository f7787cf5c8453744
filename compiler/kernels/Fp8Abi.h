// As KernelAbi.h, for products of e4m3 (float8_e4m3fn) elements: weights of a checkpoint with an
// f32 scale for each block of 128 by 128, tokens quantised here with one for each 128 elements of a
// row.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec {

/// Elements of the sum, and weight rows, that share a scale.
inline constexpr uint32_t kFp8Block = 128;
/// The largest e4m3 value: what the largest element of a quantised block becomes.
inline constexpr float kFp8Most = 448.0f;
/// Blocks whose elements are all smaller count as if this were their largest: 2^-100, so that
/// scales stay normal.
inline constexpr float kFp8Least = 7.88860905e-31f;

/// Bytes of one stage of groupedGemmFp8, and the scales of kFp8Block elements of the sum that
/// belong to it: one for each token row, then two for the weights (gate's and up's; down: of each
/// 128 weight rows).
///
/// The product's compile-time choices are a GemmConfig: `element` is the outputs' and `tileK` a
/// multiple of kFp8Block.
constexpr uint32_t fp8StageBytes(const GemmConfig &c) { return (c.tileTokens + c.tileWeights) * c.tileK; }
constexpr uint32_t fp8ScaleFloats(const GemmConfig &c) { return c.tileTokens + 4; }
/// Dynamic shared memory of a launch; swizzled tiles start at multiples of 1024 bytes.
constexpr uint32_t fp8SharedBytes(const GemmConfig &c) {
  return c.stages * (fp8StageBytes(c) + c.tileK / kFp8Block * fp8ScaleFloats(c) * 4) + 1024;
}

/// Whether gate-up gives its rows quantised, as quantise would make them of its bf16 outputs: where a block has all
/// columns of a row that share a scale.
constexpr bool givesQuantised(const GemmConfig &c) {
  return c.role == GemmRole::GateUp && c.tileWeights == 2 * kFp8Block;
}

/// Arguments of groupedGemmFp8. Weights, and rows that are quantised, come through tensor maps; `gemm.weights`,
/// `upWeights`, `expertStride` and the biases are not read, nor, unless the config quantises, `gemm.tokens`, `slotPair`
/// and `topK`. `gemm.k` is a multiple of 16, `gemm.n` of 8 (givesQuantised: of 16).
struct Fp8GemmArgs {
  GroupedGemmArgs gemm;
  const float *tokenScales;    ///< [ceil(k / 128), tokenScaleStride], of each slot (QuantiseArgs::scales); not read by
                               ///< configs that quantise
  const float *weightScales;   ///< gate's or down's [E, ceil(n / 128), ceil(k / 128)]
  const float *upWeightScales; ///< GateUp: up's, laid out as `weightScales`
  int64_t expertScaleStride;   ///< floats from one expert's scales to the next
  float *outputScales;         ///< givesQuantised: [ceil(n / 128), tokenScaleStride]; gemm.output is e4m3 then
  uint32_t tokenScaleStride;
};

/// Compile-time choices of quantise.
struct QuantiseConfig {
  Element element; ///< of what is read
  uint32_t threads;
  bool joined = false; ///< where there is a slotOfPair, row i goes to slot i besides (DispatchConfig::joined)
};

/// Rows of e4m3 with a scale for each 128 elements: element * scale is the row's element, rounded
/// to nearest even. The scale is the largest magnitude of the 128 (kFp8Least at least) / 448. NaN
/// and infinities become NaN and do not count for the scale, so a token that has one is NaN
/// wherever a product with it would not be finite, and no other token is.
struct QuantiseArgs {
  const void *rows;          ///< [numRows, k], row-major
  const int32_t *slotOfPair; ///< [numRows * topK] where each row goes, -1: nowhere; null: row i
                             ///< goes to slot i, topK is 1
  const int32_t *rowsInUse;  ///< [1] rows from this on are left alone, or null
  uint8_t *quantised;        ///< [slots, k]
  float *scales;             ///< [ceil(k / 128), scaleStride], element [block, slot]
  uint32_t numRows;          ///< times ceil(k / 128) below 2^31
  uint32_t k;                ///< a multiple of 8
  uint32_t topK;
  uint32_t scaleStride; ///< slots or more
  FewPairs few;         ///< of tokens: where slotOfPair is not read, though not null
};

/// Half a warp quantises a block at a time, and four of them at once where there are many.
inline constexpr uint32_t kQuantiseTogether = 4;
/// Blocks of quantise: few items reach many multiprocessors. Any other grid is right too.
constexpr uint32_t quantiseBlocks(const QuantiseConfig &c, uint32_t numRows, uint32_t k) {
  constexpr uint32_t few = 512;
  const uint64_t items = uint64_t{numRows} * ceilDivide(k, kFp8Block);
  const uint32_t each = ceilDivide(items, c.threads / 16), four = ceilDivide(items, c.threads / 16 * kQuantiseTogether);
  return each < 1 ? 1 : each <= few ? each : four < few ? few : four;
}

} // namespace moec
