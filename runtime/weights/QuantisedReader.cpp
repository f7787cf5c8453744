#include "runtime/weights/QuantisedReader.h"

#include "runtime/weights/Convert.h"
#include "runtime/weights/Text.h"

#include <algorithm>

namespace moec {
namespace {

uint64_t blocksOf(uint64_t elements) { return (elements + kScaleBlock - 1) / kScaleBlock; }

/// The rows and columns of scales, whatever their rank.
Result<std::pair<uint64_t, uint64_t>> gridOf(std::span<const int64_t> shape, bool perExpert, int64_t experts) {
  if (perExpert) {
    if (shape.empty() || shape[0] != experts)
      return makeError(Code::InvalidModel, "expected scales of {} experts, found shape {}", experts, shapeText(shape));
    shape = shape.subspan(1);
  }
  if (shape.size() == 2)
    return std::pair<uint64_t, uint64_t>(shape[0], shape[1]);
  if (shape.empty() || (shape.size() == 1 && shape[0] == 1))
    return std::pair<uint64_t, uint64_t>(1, 1);
  return makeError(Code::InvalidModel, "expected scales in rows and columns, or one, found shape {}", shapeText(shape));
}

/// Writes f32 rows one after another as `want`.
class RowWriter {
public:
  RowWriter(DType want, uint64_t cols, std::span<std::byte> to)
      : want(want), rowBytes(cols * byteSize(want)), to(to), row(cols) {}
  std::vector<float> &values() { return row; }
  void finish(uint64_t index) { convert(row.data(), DType::F32, to.data() + index * rowBytes, want, row.size()); }

private:
  DType want;
  uint64_t rowBytes;
  std::span<std::byte> to;
  std::vector<float> row;
};

/// Rows of scales as f32, each read once for the part's rows that share it.
class ScaleRows {
public:
  explicit ScaleRows(const BlockScales &scales)
      : from(scales), stored(scales.cols * byteSize(scales.dtype)), row(scales.cols) {}

  /// The scales of the part's row `partRow`, valid until the next call.
  Result<std::span<const float>> at(uint64_t partRow) {
    const uint64_t block = (from.firstRow + partRow) / from.blockRows;
    if (block != current) {
      const uint64_t first = from.offset + block * from.cols;
      if (Status status = from.tensor.read(first * byteSize(from.dtype), stored); !status.ok())
        return status;
      convert(stored.data(), from.dtype, row.data(), DType::F32, from.cols);
      current = block;
    }
    return std::span<const float>(row);
  }

private:
  const BlockScales &from;
  std::vector<std::byte> stored;
  std::vector<float> row;
  uint64_t current = UINT64_MAX; // none read yet
};

std::span<std::byte> bytesOf(std::vector<uint8_t> &values) { return std::as_writable_bytes(std::span(values)); }

} // namespace

Result<BlockScales> blockScales(const TensorSpan &scales, std::span<const int64_t> weightShape, uint32_t expert,
                                uint64_t rows) {
  const bool perExpert = weightShape.size() == 3;
  const auto matrix = weightShape.last(2);
  const uint64_t n = matrix[0], k = matrix[1];
  const std::optional<DType> dtype = computeType(scales.type);
  if (!dtype)
    return makeError(Code::InvalidModel, "has scales of dtype {}: expected F32, BF16 or F16",
                     tensorTypeName(scales.type));
  Result<std::pair<uint64_t, uint64_t>> grid = gridOf(scales.shape, perExpert, weightShape[0]);
  if (!grid)
    return grid.status();
  const auto [gridRows, gridCols] = *grid;
  const bool rowsFit = gridRows == 1 || gridRows == n || gridRows == blocksOf(n);
  if (!rowsFit || (gridCols != 1 && gridCols != blocksOf(k)))
    return makeError(Code::InvalidModel,
                     "of shape {} has scales of shape {}: expected one for {} by {} elements, for "
                     "a row or for all",
                     shapeText(weightShape), shapeText(scales.shape), kScaleBlock, kScaleBlock);
  return BlockScales{.tensor = scales,
                     .dtype = *dtype,
                     .offset = perExpert ? expert * gridRows * gridCols : 0,
                     .cols = gridCols,
                     .blockRows = gridRows == 1   ? n
                                  : gridRows == n ? 1
                                                  : kScaleBlock,
                     .blockCols = gridCols == 1 ? k : kScaleBlock,
                     .firstRow = rows};
}

Status readBlockScaled(const TensorSpan &tensor, const MatrixLayout &layout, const BlockScales &scales, DType want,
                       std::span<std::byte> to) {
  RowWriter writer(want, layout.cols, to);
  std::vector<uint8_t> stored(layout.cols);
  ScaleRows scaleRows(scales);
  for (uint64_t row = 0; row < layout.rows; ++row) {
    Result<std::span<const float>> rowScales = scaleRows.at(row);
    if (!rowScales)
      return rowScales.status();
    if (Status status = tensor.read(layout.offset + row * layout.rowStride, bytesOf(stored)); !status.ok())
      return status;
    for (uint64_t block = 0; block < scales.cols; ++block) {
      const uint64_t first = block * scales.blockCols;
      widenE4M3(stored.data() + first, (*rowScales)[block], writer.values().data() + first,
                std::min(scales.blockCols, layout.cols - first));
    }
    writer.finish(row);
  }
  return Status();
}

bool servesBlocks(const BlockScales &scales, uint64_t rows) {
  for (uint64_t first = 0; first < rows; first += kScaleBlock) {
    const uint64_t last = std::min(rows, first + kScaleBlock) - 1;
    if ((scales.firstRow + first) / scales.blockRows != (scales.firstRow + last) / scales.blockRows)
      return false;
  }
  return true; // columns are either in blocks of 128 or all together
}

Status readStoredBlocks(const TensorSpan &tensor, const MatrixLayout &layout, const BlockScales &scales,
                        std::span<uint8_t> elements, std::span<float> perBlock) {
  const uint64_t blockCols = blocksOf(layout.cols);
  ScaleRows scaleRows(scales);
  for (uint64_t block = 0; block < perBlock.size(); ++block) {
    Result<std::span<const float>> rowScales = scaleRows.at(block / blockCols * kScaleBlock);
    if (!rowScales)
      return rowScales.status();
    perBlock[block] = (*rowScales)[block % blockCols * kScaleBlock / scales.blockCols];
  }
  return tensor.read(layout.offset, std::as_writable_bytes(elements));
}

Status readMxfp4(const TensorSpan &blocks, const TensorSpan &scales, const MatrixLayout &layout, DType want,
                 std::span<std::byte> to) {
  RowWriter writer(want, layout.cols, to);
  std::vector<uint8_t> stored(layout.cols / 2), rowScales(layout.cols / kMxBlock);
  for (uint64_t row = 0; row < layout.rows; ++row) {
    const uint64_t first = layout.offset + row * layout.rowStride;
    if (Status status = blocks.read(first / 2, bytesOf(stored)); !status.ok())
      return status;
    if (Status status = scales.read(first / kMxBlock, bytesOf(rowScales)); !status.ok())
      return status;
    for (uint64_t pair = 0; pair < stored.size(); ++pair) {
      const float scale = e8m0ToF32(rowScales[pair / kMxBlockBytes]);
      writer.values()[pair * 2] = e2m1ToF32(stored[pair] & 15) * scale;
      writer.values()[pair * 2 + 1] = e2m1ToF32(stored[pair] >> 4) * scale;
    }
    writer.finish(row);
  }
  return Status();
}

} // namespace moec
