// The element types that a .safetensors file can name.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace moec {

/// All types of the format, so that a file which holds some that are not computed with can still be read for
/// the others.
enum class TensorType : uint8_t {
  Bool,
  F4,
  F6E2M3,
  F6E3M2,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  F8E5M2Fnuz,
  F8E4M3Fnuz,
  F8E8M0,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64,
};

/// The format's name, e.g. "BF16".
std::string_view tensorTypeName(TensorType type);
/// The type of that name; nothing if the format knows none. Case counts.
std::optional<TensorType> tensorTypeNamed(std::string_view name);
/// Bits of one element; some are less than a byte.
uint32_t bitSize(TensorType type);

/// The dtype to compute with, or nothing: only F32, BF16 and F16 have one.
std::optional<DType> computeType(TensorType type);
TensorType tensorTypeOf(DType dtype);

} // namespace moec
