// Reads matrices that are stored in fewer bits than they are computed with: each element times the
// scale of its block.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "runtime/weights/Checkpoint.h"
#include "runtime/weights/FusedLayout.h"

namespace moec {

/// The scales of e4m3 matrices: DeepSeek-V3's (one for 128 by 128 elements), or one for a row, or
/// one for a matrix.
struct BlockScales {
  TensorSpan tensor;
  DType dtype;
  uint64_t offset;               ///< elements in front of this expert's scales
  uint64_t cols;                 ///< scales of a row
  uint64_t blockRows, blockCols; ///< elements that share one
  uint64_t firstRow;             ///< the part's first row in the matrix that the scales are for (up in a fused
                                 ///< gate_up_proj)
};

/// Elements of a block of DeepSeek-V3's, either way.
inline constexpr uint64_t kScaleBlock = kFp8Block;

/// The scales of the part at `layout` of a tensor of e4m3 elements, [N, K] or [E, N, K]: `scales`
/// has [N/128, K/128] (rounded up), [N, 1], [1] or [], behind the same E if there is one. `rows`
/// are those of the part before its own: 0, or I for up.
///
/// Errors: InvalidModel (another shape, or a dtype that scales do not have; says expected and
/// found).
Result<BlockScales> blockScales(const TensorSpan &scales, std::span<const int64_t> weightShape, uint32_t expert,
                                uint64_t rows);

/// Writes the rows at `layout` (columns next to each other) of `tensor`, which has e4m3 elements,
/// each times its scale in f32, as `want`. Errors as readMatrix. Thread-safe.
Status readBlockScaled(const TensorSpan &tensor, const MatrixLayout &layout, const BlockScales &scales, DType want,
                       std::span<std::byte> to);

/// Whether 128 by 128 elements of a part of `rows` rows, counted from its first, always share one
/// of these scales: not if there is one for each row, nor if up begins amid a block.
bool servesBlocks(const BlockScales &scales, uint64_t rows);

/// Copies the elements at `layout` (contiguous) of `tensor` and gives the scale of each 128 by 128
/// of them, [ceil(rows / 128), ceil(cols / 128)], as f32; `scales` must serve these blocks. Errors
/// as readMatrix. Thread-safe.
Status readStoredBlocks(const TensorSpan &tensor, const MatrixLayout &layout, const BlockScales &scales,
                        std::span<uint8_t> elements, std::span<float> perBlock);

/// Elements that share a scale of MXFP4, and the bytes that they take.
inline constexpr uint64_t kMxBlock = 32, kMxBlockBytes = 16;

/// Writes the rows at `layout` (columns next to each other, elements counted as if none were
/// packed) of `blocks` [E, N, K / 32, 16] U8: two e2m1 elements a byte, the first in its low half;
/// each times 2^(scale - 127) of its block, from `scales` [E, N, K / 32] U8; as `want`. Errors as
/// readMatrix. Thread-safe.
Status readMxfp4(const TensorSpan &blocks, const TensorSpan &scales, const MatrixLayout &layout, DType want,
                 std::span<std::byte> to);

} // namespace moec
