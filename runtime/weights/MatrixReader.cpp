#include "runtime/weights/MatrixReader.h"

#include "runtime/weights/Convert.h"

#include <algorithm>
#include <cstring>

namespace moec {
namespace {

/// A run of a tensor's elements: in the mapping, or copied to `scratch`.
class Run {
public:
  Run(const TensorSpan &tensor, DType dtype) : tensor(tensor), elementBytes(byteSize(dtype)) {}

  /// The `count` elements from element `first` on, valid until the next call.
  Result<const std::byte *> fetch(uint64_t first, uint64_t count) {
    uint64_t offset = first * elementBytes, bytes = count * elementBytes;
    if (tensor.bytes.data() && offset <= tensor.bytes.size() && bytes <= tensor.bytes.size() - offset)
      return tensor.bytes.data() + offset;
    scratch.resize(bytes);
    if (Status status = tensor.read(offset, scratch); !status.ok())
      return status;
    return static_cast<const std::byte *>(scratch.data());
  }

private:
  const TensorSpan &tensor;
  uint64_t elementBytes;
  std::vector<std::byte> scratch;
};

Status readContiguous(const TensorSpan &tensor, DType dtype, const MatrixLayout &layout, DType want,
                      std::span<std::byte> to) {
  uint64_t elements = layout.rows * layout.cols;
  if (dtype == want)
    return tensor.read(layout.offset * byteSize(dtype), to);
  // Bounds what is copied at once where the file isn't mapped; such a piece stays in the L2 cache.
  constexpr uint64_t piece = 128 * 1024;
  Run run(tensor, dtype);
  for (uint64_t done = 0; done < elements; done += piece) {
    uint64_t count = std::min(piece, elements - done);
    Result<const std::byte *> from = run.fetch(layout.offset + done, count);
    if (!from)
      return from.status();
    convert(*from, dtype, to.data() + done * byteSize(want), want, count);
  }
  return Status();
}

/// Writes `numCols` columns of the result, which lie one after another in `columns`, each `columnLength` elements
/// long with the matrix's rows `rowStride` apart.
template <typename T>
void scatterColumns(const std::byte *columns, uint64_t columnLength, uint64_t numCols, const MatrixLayout &layout,
                    uint64_t firstCol, std::byte *to) {
  for (uint64_t row = 0; row < layout.rows; ++row)
    for (uint64_t col = 0; col < numCols; ++col)
      std::memcpy(to + (row * layout.cols + firstCol + col) * sizeof(T),
                  columns + (col * columnLength + row * layout.rowStride) * sizeof(T), sizeof(T));
}

Status readTransposed(const TensorSpan &tensor, DType dtype, const MatrixLayout &layout, DType want,
                      std::span<std::byte> to) {
  // A block of columns fills whole cache lines of the result's rows.
  constexpr uint64_t block = 32;
  uint64_t columnLength = (layout.rows - 1) * layout.rowStride + 1;
  uint64_t columnBytes = columnLength * byteSize(want);
  std::vector<std::byte> columns(block * columnBytes);
  Run run(tensor, dtype);
  for (uint64_t first = 0; first < layout.cols; first += block) {
    uint64_t count = std::min(block, layout.cols - first);
    for (uint64_t col = 0; col < count; ++col) {
      Result<const std::byte *> from = run.fetch(layout.offset + (first + col) * layout.colStride, columnLength);
      if (!from)
        return from.status();
      convert(*from, dtype, columns.data() + col * columnBytes, want, columnLength);
    }
    if (byteSize(want) == 2)
      scatterColumns<uint16_t>(columns.data(), columnLength, count, layout, first, to.data());
    else
      scatterColumns<uint32_t>(columns.data(), columnLength, count, layout, first, to.data());
  }
  return Status();
}

} // namespace

Status readMatrix(const TensorSpan &tensor, DType dtype, const MatrixLayout &layout, DType want,
                  std::span<std::byte> to) {
  if (layout.rows == 0 || layout.cols == 0)
    return Status();
  if (layout.contiguous())
    return readContiguous(tensor, dtype, layout, want, to);
  return readTransposed(tensor, dtype, layout, want, to);
}

} // namespace moec
