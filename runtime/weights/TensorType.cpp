#include "runtime/weights/TensorType.h"

#include <array>

namespace moec {
namespace {

struct Row {
  TensorType type;
  std::string_view name;
  uint32_t bits;
};

// In the order of the enum.
constexpr std::array<Row, 22> rows = {{
    {TensorType::Bool, "BOOL", 8},
    {TensorType::F4, "F4", 4},
    {TensorType::F6E2M3, "F6_E2M3", 6},
    {TensorType::F6E3M2, "F6_E3M2", 6},
    {TensorType::U8, "U8", 8},
    {TensorType::I8, "I8", 8},
    {TensorType::F8E5M2, "F8_E5M2", 8},
    {TensorType::F8E4M3, "F8_E4M3", 8},
    {TensorType::F8E5M2Fnuz, "F8_E5M2FNUZ", 8},
    {TensorType::F8E4M3Fnuz, "F8_E4M3FNUZ", 8},
    {TensorType::F8E8M0, "F8_E8M0", 8},
    {TensorType::I16, "I16", 16},
    {TensorType::U16, "U16", 16},
    {TensorType::F16, "F16", 16},
    {TensorType::BF16, "BF16", 16},
    {TensorType::I32, "I32", 32},
    {TensorType::U32, "U32", 32},
    {TensorType::F32, "F32", 32},
    {TensorType::C64, "C64", 64},
    {TensorType::F64, "F64", 64},
    {TensorType::I64, "I64", 64},
    {TensorType::U64, "U64", 64},
}};

constexpr bool inEnumOrder() {
  for (size_t i = 0; i < rows.size(); ++i)
    if (static_cast<size_t>(rows[i].type) != i)
      return false;
  return true;
}
static_assert(inEnumOrder());

} // namespace

std::string_view tensorTypeName(TensorType type) { return rows[static_cast<size_t>(type)].name; }

uint32_t bitSize(TensorType type) { return rows[static_cast<size_t>(type)].bits; }

std::optional<TensorType> tensorTypeNamed(std::string_view name) {
  for (const Row &row : rows)
    if (row.name == name)
      return row.type;
  return std::nullopt;
}

std::optional<DType> computeType(TensorType type) {
  switch (type) {
  case TensorType::F32: return DType::F32;
  case TensorType::BF16: return DType::BF16;
  case TensorType::F16: return DType::F16;
  default: return std::nullopt;
  }
}

TensorType tensorTypeOf(DType dtype) {
  switch (dtype) {
  case DType::F32: return TensorType::F32;
  case DType::BF16: return TensorType::BF16;
  case DType::F16: return TensorType::F16;
  }
  return TensorType::F32;
}

} // namespace moec
