#include "runtime/weights/Convert.h"

#include "runtime/device/cpu/Clones.h"

#include <cstring>

namespace moec {
namespace {

// Loads and stores go through memcpy, since a tensor in an older file may lie at an odd address; compilers turn
// that into plain, and in loops vector, instructions.
template <typename T> T load(const std::byte *from, size_t i) {
  T value;
  std::memcpy(&value, from + i * sizeof(T), sizeof(T));
  return value;
}

template <typename From, typename To, typename Function>
void loop(const std::byte *__restrict from, std::byte *__restrict to, size_t count, Function function) {
  for (size_t i = 0; i < count; ++i) {
    To value = function(load<From>(from, i));
    std::memcpy(to + i * sizeof(To), &value, sizeof(To));
  }
}

/// The loop for one pair of different types.
void convertLoop(const std::byte *from, DType fromType, std::byte *to, DType toType, size_t count) {
  switch (fromType) {
  case DType::F32:
    if (toType == DType::BF16)
      return loop<float, uint16_t>(from, to, count, [](float x) { return f32ToBf16(x); });
    return loop<float, uint16_t>(from, to, count, [](float x) { return f32ToF16(x); });
  case DType::BF16:
    if (toType == DType::F32)
      return loop<uint16_t, float>(from, to, count, [](uint16_t x) { return bf16ToF32(x); });
    return loop<uint16_t, uint16_t>(from, to, count, [](uint16_t x) { return f32ToF16(bf16ToF32(x)); });
  case DType::F16:
    if (toType == DType::F32)
      return loop<uint16_t, float>(from, to, count, [](uint16_t x) { return f16ToF32(x); });
    return loop<uint16_t, uint16_t>(from, to, count, [](uint16_t x) { return f32ToBf16(f16ToF32(x)); });
  }
}

} // namespace

MOEC_CLONES void widenE4M3(const uint8_t *__restrict from, float scale, float *__restrict to, size_t count) {
  for (size_t i = 0; i < count; ++i)
    to[i] = e4m3ToF32(from[i]) * scale;
}

void convert(const void *from, DType fromType, void *to, DType toType, size_t count) {
  if (count == 0)
    return;
  if (fromType == toType) {
    std::memcpy(to, from, count * byteSize(fromType));
    return;
  }
  convertLoop(static_cast<const std::byte *>(from), fromType, static_cast<std::byte *>(to), toType, count);
}

} // namespace moec
