// What the emulator keeps in the driver's opaque CUtensorMap.
#pragma once

#include <cstdint>
#include <cstring>

namespace moec::emulation {

/// Weights [experts, rows, k] of two-byte elements, read in boxes of boxRows by boxK, swizzled by 128 bytes.
struct Box {
  uint64_t magic = 0;
  const uint8_t *base = nullptr;
  uint64_t expertStride = 0; // elements
  uint32_t k = 0, rows = 0, experts = 0, boxK = 0, boxRows = 0;
};
inline constexpr uint64_t boxMagic = 0x6d6f6563426f7821;

inline bool readBox(const void *tensorMap, Box &box) {
  std::memcpy(static_cast<void *>(&box), tensorMap, sizeof(box));
  return box.magic == boxMagic;
}

/// As tools/bench/gpu's Device::weightMap. `Map` is moec::TensorMap.
template <class Map>
Map weightMap(const void *weights, uint32_t k, uint32_t rows, uint32_t experts, uint64_t expertStride, uint32_t boxRows) {
  static_assert(sizeof(Map) == 128 && sizeof(Box) <= sizeof(Map));
  Box box{boxMagic, static_cast<const uint8_t *>(weights), expertStride, k, rows, experts, 64, boxRows};
  Map map{};
  std::memcpy(static_cast<void *>(&map), &box, sizeof(box));
  return map;
}

} // namespace moec::emulation
