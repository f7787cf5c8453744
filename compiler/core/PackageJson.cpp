#include "compiler/core/PackageJson.h"

#include "compiler/core/Json.h"
#include "compiler/core/PackageFields.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <concepts>
#include <limits>

namespace moec {

namespace {

using nlohmann::json;

template <typename T> struct IsVector : std::false_type {};
template <typename T> struct IsVector<std::vector<T>> : std::true_type {};

//===-- Enums by name -------------------------------------------------------------------------===//

const char *scoringName(Scoring scoring) {
  switch (scoring) {
  case Scoring::None:
    return "none";
  case Scoring::Softmax:
    return "softmax";
  case Scoring::Sigmoid:
    return "sigmoid";
  }
  return "unknown";
}

const char *nameOf(DType value) { return dtypeName(value); }
const char *nameOf(CpuIsa value) { return isaName(value); }
const char *nameOf(Scoring value) { return scoringName(value); }
const char *nameOf(LaunchKind value) { return launchName(value); }

template <typename T> constexpr T lastOf = T{};
template <> constexpr DType lastOf<DType> = DType::F16;
template <> constexpr CpuIsa lastOf<CpuIsa> = CpuIsa::Avx512Bf16;
template <> constexpr Scoring lastOf<Scoring> = Scoring::Sigmoid;
template <> constexpr LaunchKind lastOf<LaunchKind> = LaunchKind::Store;

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

//===-- Writing -------------------------------------------------------------------------------===//

template <typename T> json toJson(const T &value);

struct Writer {
  json object = json::object();
  template <typename T> void field(const char *name, const T &value) {
    object[name] = toJson(value);
  }
};

template <typename T> json toJson(const T &value) {
  if constexpr (std::is_enum_v<T>) {
    return nameOf(value);
  } else if constexpr (std::is_arithmetic_v<T> || std::same_as<T, std::string>) {
    return value;
  } else if constexpr (IsVector<T>::value) {
    json array = json::array();
    for (const auto &element : value)
      array.push_back(toJson(element));
    return array;
  } else {
    Writer writer;
    fields(writer, value);
    return std::move(writer.object);
  }
}

//===-- Reading -------------------------------------------------------------------------------===//

template <typename T> void read(const JsonValue &from, T &value);

struct Reader {
  const JsonValue &object;
  template <typename T> void field(const char *name, T &value) { read(object[name], value); }
};

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
  } else if constexpr (IsVector<T>::value) {
    if constexpr (std::unsigned_integral<typename T::value_type>) {
      value = from.integers<typename T::value_type>();
    } else {
      value.resize(from.size());
      for (size_t index = 0; index < value.size(); ++index)
        read(from.at(index), value[index]);
    }
  } else {
    Reader reader{from};
    fields(reader, value);
  }
}

//===-- What must hold between fields ---------------------------------------------------------===//

bool isPermutation(const std::vector<uint16_t> &order) {
  std::vector<bool> seen(order.size(), false);
  for (uint16_t expert : order) {
    if (expert >= seen.size() || seen[expert])
      return false;
    seen[expert] = true;
  }
  return true;
}

bool isDescending(const std::vector<uint16_t> &rows) {
  return std::adjacent_find(rows.begin(), rows.end(), std::less_equal<>()) == rows.end();
}

/// What the runtime indexes by, it must be able to trust.
void checkLayer(const JsonValue &from, const LayerPackage &layer, size_t numImages) {
  const LayerTable &table = layer.plan.table;
  size_t experts = layer.shape.experts;
  auto require = [&](bool holds, const char *what) {
    if (!holds)
      from.fail(what);
  };
  require(table.slots.size() == experts, "plan.table.slots has not one entry per expert");
  require(table.packed.size() == experts, "plan.table.packed has not one entry per expert");
  require(table.order.size() == experts, "plan.table.order has not one entry per expert");
  require(isPermutation(table.order), "plan.table.order is not a permutation of the experts");
  require(layer.plannedFor.pairs.size() == experts, "planned_for has not one entry per expert");
  require(isDescending(layer.plan.config.tileRows), "plan.config.tile_rows is not descending");
  require(layer.image < numImages, "image is not one of the package's images");
}

void readImages(const JsonValue &from, std::vector<Image> &images, std::vector<uint64_t> &bytes) {
  for (size_t index = 0, count = from.size(); index < count; ++index) {
    JsonValue image = from.at(index);
    images.push_back({.key = image["key"].text(), .bytes = {}});
    bytes.push_back(image["bytes"].integer(0, std::numeric_limits<uint64_t>::max()));
  }
}

} // namespace

std::string writeManifest(const Package &package) {
  Writer writer;
  writer.field("model_name", package.modelName);
  writer.field("target", package.target);
  writer.field("kernels_built", package.kernelsBuilt);
  writer.field("layers", package.layers);
  writer.object["compile_ms"] = package.compileMs;
  json images = json::array();
  for (const Image &image : package.images)
    images.push_back({{"key", image.key}, {"bytes", image.bytes.size()}});
  writer.object["images"] = std::move(images);
  return writer.object.dump(-1, ' ', false, json::error_handler_t::replace);
}

Status readManifest(const std::string &text, Package &package, std::vector<uint64_t> &imageBytes) {
  Result<JsonDocument> document = JsonDocument::parse(text, "package manifest", Code::CacheCorrupt);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  Reader reader{root};
  reader.field("model_name", package.modelName);
  reader.field("target", package.target);
  reader.field("kernels_built", package.kernelsBuilt);
  reader.field("layers", package.layers);
  JsonValue compileMs = root["compile_ms"];
  for (const std::string &stage : compileMs.keys())
    package.compileMs[stage] = compileMs[stage.c_str()].number();
  readImages(root["images"], package.images, imageBytes);

  JsonValue layers = root["layers"];
  for (size_t index = 0; index < package.layers.size(); ++index)
    checkLayer(layers.at(index), package.layers[index], package.images.size());
  return document->status();
}

} // namespace moec
