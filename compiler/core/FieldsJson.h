// Structs with `fields()` (PackageFields.h) to and from JSON: enums by name, vectors as arrays.
#pragma once

#include "compiler/core/Json.h"
#include "compiler/core/PackageFields.h"

#include <nlohmann/json.hpp>

#include <concepts>
#include <limits>
#include <type_traits>

namespace moec::fieldsjson {

template <typename T> struct IsVector : std::false_type {};
template <typename T> struct IsVector<std::vector<T>> : std::true_type {};

inline const char *nameOf(DType value) { return dtypeName(value); }
inline const char *nameOf(CpuIsa value) { return isaName(value); }
inline const char *nameOf(DeviceKind value) { return deviceName(value); }
inline const char *nameOf(LaunchKind value) { return launchName(value); }
inline const char *nameOf(WeightFormat value) { return weightFormatName(value); }
inline const char *nameOf(Scoring value) {
  return value == Scoring::None ? "none" : value == Scoring::Softmax ? "softmax" : "sigmoid";
}

template <typename T> constexpr T lastOf = T{};
template <> inline constexpr DType lastOf<DType> = DType::F16;
template <> inline constexpr WeightFormat lastOf<WeightFormat> = WeightFormat::BlockE4M3;
template <> inline constexpr CpuIsa lastOf<CpuIsa> = CpuIsa::Avx512Bf16;
template <> inline constexpr DeviceKind lastOf<DeviceKind> = DeviceKind::Cuda;
template <> inline constexpr Scoring lastOf<Scoring> = Scoring::Sigmoid;
template <> inline constexpr LaunchKind lastOf<LaunchKind> = LaunchKind::Store;

template <typename T> nlohmann::json write(const T &value);

struct Writer {
  nlohmann::json object = nlohmann::json::object();
  template <typename T> void field(const char *name, const T &value) { object[name] = write(value); }
};

template <typename T> nlohmann::json write(const T &value) {
  if constexpr (std::is_enum_v<T>) {
    return nameOf(value);
  } else if constexpr (std::is_arithmetic_v<T> || std::same_as<T, std::string>) {
    return value;
  } else if constexpr (std::same_as<T, CudaTile>) {
    return value.text();
  } else if constexpr (IsVector<T>::value) {
    nlohmann::json array = nlohmann::json::array();
    for (const auto &element : value)
      array.push_back(write(element));
    return array;
  } else {
    Writer writer;
    fields(writer, value);
    return std::move(writer.object);
  }
}

template <typename T> void read(const JsonValue &from, T &value);

struct Reader {
  const JsonValue &object;
  template <typename T> void field(const char *name, T &value) { read(object[name], value); }
};

template <typename T> void readEnum(const JsonValue &from, T &value) {
  std::string name = from.text();
  for (int number = 0; number <= static_cast<int>(lastOf<T>); ++number) {
    value = static_cast<T>(number);
    if (name == nameOf(value))
      return;
  }
  value = T{};
  from.fail(fmt::format("unknown name '{}'", name));
}

/// A failed read leaves zeros, and the document's error says where (Json.h).
template <typename T> void read(const JsonValue &from, T &value) {
  if constexpr (std::is_enum_v<T>) {
    readEnum(from, value);
  } else if constexpr (std::same_as<T, bool>) {
    value = from.flag();
  } else if constexpr (std::unsigned_integral<T>) {
    value = static_cast<T>(from.integer(0, std::numeric_limits<T>::max()));
  } else if constexpr (std::signed_integral<T>) {
    value = static_cast<T>(from.signedInteger(0, std::numeric_limits<T>::max()));
  } else if constexpr (std::same_as<T, double>) {
    value = from.number();
  } else if constexpr (std::same_as<T, std::string>) {
    value = from.text();
  } else if constexpr (std::same_as<T, CudaTile>) {
    Result<CudaTile> tile = CudaTile::parse(from.text());
    tile ? void(value = *tile) : from.fail(tile.status().message());
  } else if constexpr (IsVector<T>::value) {
    value.clear();
    value.resize(from.size());
    for (size_t index = 0; index < value.size(); ++index)
      read(from.at(index), value[index]);
  } else {
    Reader reader{from};
    fields(reader, value);
  }
}

} // namespace moec::fieldsjson
