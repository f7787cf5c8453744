#include "compiler/core/Config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace moec {

std::string CpuConfig::text() const {
  return fmt::format("cpu{{isa={},compute={},rows={}}}", isaName(isa), dtypeName(compute),
                     fmt::join(tileRows, "."));
}

uint32_t paddedStride(uint32_t columns, DType dtype) {
  constexpr uint32_t lineBytes = 64;
  uint32_t lines = (columns * byteSize(dtype) + lineBytes - 1) / lineBytes;
  lines |= 1;
  return lines * lineBytes / byteSize(dtype);
}

uint64_t panelBytes(uint32_t k, uint32_t lanes, DType compute) {
  uint64_t evenK = (uint64_t{k} + 1) / 2 * 2;
  return evenK * 2 * lanes * byteSize(compute);
}

} // namespace moec
