// Weights in the layout that tiles read: one panel at a time, with the edges that the generated packer leaves out.
#pragma once

#include "runtime/device/cpu/LayerKernels.h"

#include <cstddef>

namespace moec {

/// A GEMM's weights as stored: dense row-major rows of K in the compute dtype, one row per output column.
struct StoredOperand {
  const std::byte *first = nullptr;
  const std::byte *second = nullptr;                       // the up projection of a gated GEMM; null for a plain one
  const float *firstBias = nullptr, *secondBias = nullptr; // one a row; null where the GEMM is not biased
};

/// Packs panel `panel` of the operand into `to` (gemm.panelSize bytes). Columns past the last, their biases and the K
/// after an odd last one become zero.
///
/// `rows` is scratch of gemm.panelSize bytes: the generated packer reads whole rows of an even K, so that the
/// last panel, and every panel of an odd bf16 K, goes through a padded copy.
void packPanel(const GemmKernels &gemm, const StoredOperand &operand, DType compute, uint32_t panel, std::byte *rows,
               std::byte *to);

/// All panels of the operand, one after another: gemm.panels * gemm.panelSize bytes.
void packAll(const GemmKernels &gemm, const StoredOperand &operand, DType compute, std::byte *rows, std::byte *to);

} // namespace moec
