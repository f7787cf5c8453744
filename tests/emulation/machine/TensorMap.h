// What the emulator keeps in the driver's opaque CUtensorMap.
#pragma once

#include "compiler/core/CudaTensors.h"

#include <cstdint>
#include <cstring>

namespace moec::emulation {

/// A tensor read in boxes and swizzled by 128 bytes. Dimension 0 is contiguous and its box 128 bytes, as that swizzle
/// demands.
struct Box {
  static constexpr uint32_t maxRank = 5;
  uint64_t magic = 0;
  const uint8_t *base = nullptr;
  uint64_t stride[maxRank] = {}; // bytes; 0 is not used
  uint32_t size[maxRank] = {};   // elements
  uint16_t box[maxRank] = {};    // elements
  uint16_t rank = 0;
  uint16_t elementBytes = 2;

  uint32_t bytes() const {
    uint32_t elements = 1;
    for (uint32_t i = 0; i < rank; ++i)
      elements *= box[i];
    return elements * elementBytes;
  }
};
inline constexpr uint64_t boxMagic = 0x6d6f6563426f7821;

inline bool readBox(const void *tensorMap, Box &box) {
  std::memcpy(static_cast<void *>(&box), tensorMap, sizeof(box));
  return box.magic == boxMagic;
}

/// `Map` is moec::TensorMap.
template <class Map> Map tensorMap(const Box &box) {
  static_assert(sizeof(Map) == 128 && sizeof(Box) <= sizeof(Map));
  Map map{};
  std::memcpy(static_cast<void *>(&map), &box, sizeof(box));
  return map;
}

/// The tensor as the driver would encode it.
template <class Map> Map tensorMap(const CudaTensor &tensor) {
  static_assert(Box::maxRank == CudaTensor::maxRank);
  Box box{.magic = boxMagic,
          .base = reinterpret_cast<const uint8_t *>(tensor.address),
          .rank = static_cast<uint16_t>(tensor.rank),
          .elementBytes = static_cast<uint16_t>(tensor.elementBytes)};
  for (uint32_t i = 0; i < tensor.rank; ++i) {
    box.stride[i] = i == 0 ? tensor.elementBytes : tensor.strides[i - 1];
    box.size[i] = static_cast<uint32_t>(tensor.sizes[i]);
    box.box[i] = static_cast<uint16_t>(tensor.box[i]);
  }
  return tensorMap<Map>(box);
}

inline uint64_t addressOf(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

/// Weights [experts, rows, k], `expertStride` elements apart; the element type is no matter here.
template <class Map>
Map weightMap(const void *weights, uint32_t k, uint32_t rows, uint32_t experts, uint64_t expertStride,
              uint32_t boxRows) {
  return tensorMap<Map>(weightTensor(Element::BF16, addressOf(weights), k, rows, experts, expertStride, boxRows));
}

} // namespace moec::emulation
