#include "runtime/device/cpu/Pack.h"

#include <algorithm>
#include <cstring>

namespace moec {
namespace {

/// Rows [begin, begin + count) of `source`, as far as there are `available`, zero elsewhere and past K.
void copyPadded(const std::byte *source, uint64_t rowBytes, uint32_t begin, uint32_t count, uint32_t available,
                uint64_t paddedBytes, std::byte *to) {
  for (uint32_t i = 0; i < count; ++i, to += paddedBytes) {
    uint64_t valid = begin + i < available ? rowBytes : 0;
    if (valid)
      std::memcpy(to, source + (begin + i) * rowBytes, valid);
    std::memset(to + valid, 0, paddedBytes - valid);
  }
}

void packWeights(const GemmKernels &gemm, const StoredOperand &operand, DType compute, uint32_t panel, std::byte *rows,
                 std::byte *to) {
  const bool gated = operand.second != nullptr;
  const uint32_t lanes = gated ? gemm.panelColumns : gemm.panelColumns / 2;
  const uint64_t rowBytes = uint64_t{gemm.k} * byteSize(compute);
  const uint32_t begin = panel * gemm.panelColumns;
  const std::byte *second = gated ? operand.second : operand.first;
  const uint32_t secondBegin = gated ? begin : begin + lanes;

  const bool oddK = compute == DType::BF16 && gemm.k % 2 != 0;
  if (!oddK && secondBegin + lanes <= gemm.columns) {
    gemm.pack(operand.first + begin * rowBytes, second + secondBegin * rowBytes, static_cast<int64_t>(rowBytes), to);
    return;
  }
  const uint64_t paddedBytes = rowBytes + (oddK ? byteSize(compute) : 0);
  std::byte *secondRows = rows + lanes * paddedBytes;
  copyPadded(operand.first, rowBytes, begin, lanes, gemm.columns, paddedBytes, rows);
  copyPadded(second, rowBytes, secondBegin, lanes, gemm.columns, paddedBytes, secondRows);
  gemm.pack(rows, secondRows, static_cast<int64_t>(paddedBytes), to);
}

void packBiases(const GemmKernels &gemm, const StoredOperand &operand, uint32_t panel, std::byte *to) {
  constexpr uint64_t bytes = sizeof(float);
  const uint32_t begin = panel * gemm.panelColumns;
  to += gemm.panelSize - gemm.biasBytes();
  for (const float *biases : {operand.firstBias, operand.secondBias}) {
    if (biases)
      copyPadded(reinterpret_cast<const std::byte *>(biases), bytes, begin, gemm.panelColumns, gemm.columns, bytes, to);
    to += gemm.panelColumns * bytes;
  }
}

} // namespace

void packPanel(const GemmKernels &gemm, const StoredOperand &operand, DType compute, uint32_t panel, std::byte *rows,
               std::byte *to) {
  packWeights(gemm, operand, compute, panel, rows, to);
  if (gemm.biased)
    packBiases(gemm, operand, panel, to);
}

void packAll(const GemmKernels &gemm, const StoredOperand &operand, DType compute, std::byte *rows, std::byte *to) {
  for (uint32_t panel = 0; panel < gemm.panels; ++panel)
    packPanel(gemm, operand, compute, panel, rows, to + panel * gemm.panelSize);
}

} // namespace moec
