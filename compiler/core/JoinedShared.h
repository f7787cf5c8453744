// A shared expert that joins the routed ones on GPUs: one more expert of the grouped products, that takes every token.
#pragma once

#include "compiler/core/Histogram.h"
#include "compiler/core/LayerShape.h"

namespace moec {

/// Whether a GPU computes a layer's shared expert with the routed ones: it has their size, activation and format, and
/// neither do they have biases, which it has not, nor weights on their inputs. It is then number 0 of the E + 1 experts
/// of all tables and weights on the device, routed expert e is number e + 1, and its row t is token t's
/// (compiler/kernels/KernelAbi.h, DispatchConfig::joined). A property of the layer, never weighed: where experts are
/// multiplied in e4m3 it decides about numbers, and generations of a session must give the same ones.
constexpr bool joinsShared(const LayerShape &shape) {
  return shape.sharedAlike && shape.sharedIntermediate == shape.intermediate && !shape.expertBias &&
         !shape.weightOnInput;
}

/// Experts of a layer's grouped products.
constexpr uint32_t groupedExperts(const LayerShape &shape) { return shape.experts + (joinsShared(shape) ? 1 : 0); }

/// Rows of a layer's grouped products that a token has.
constexpr uint32_t rowsPerToken(const LayerShape &shape) { return shape.topK + (joinsShared(shape) ? 1 : 0); }

/// Rows of each expert of a layer's grouped products in a step with these pairs: [groupedExperts(shape)].
inline std::vector<uint32_t> groupedRows(const LayerShape &shape, const Histogram &histogram) {
  std::vector<uint32_t> rows = histogram.pairs;
  if (joinsShared(shape))
    rows.insert(rows.begin(), histogram.tokens);
  return rows;
}

/// All of them.
inline uint64_t totalRows(const LayerShape &shape, const Histogram &histogram) {
  return histogram.total() + (joinsShared(shape) ? histogram.tokens : 0);
}

} // namespace moec
