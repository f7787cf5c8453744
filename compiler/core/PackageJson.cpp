#include "compiler/core/PackageJson.h"

#include "compiler/core/FieldsJson.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace moec {

namespace {

using nlohmann::json;

using fieldsjson::Reader;
using fieldsjson::Writer;

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
  require(isDescending(layer.plan.config.cpu.tileRows), "plan.config.tile_rows is not descending");
  require(layer.image < numImages, "image is not one of the package's images");
  for (const Launch &launch : layer.launches)
    for (const KernelRef &kernel : launch.kernels)
      require(kernel.image < numImages, "a kernel's image is not one of the package's images");
}

void readImages(const JsonValue &from, std::vector<Image> &images, std::vector<uint64_t> &bytes) {
  for (size_t index = 0, count = from.size(); index < count; ++index) {
    JsonValue image = from.at(index);
    images.push_back({.key = image["key"].text(), .bytes = {}, .name = image["name"].text(), .resources = {}});
    fieldsjson::read(image["resources"], images.back().resources);
    bytes.push_back(image["bytes"].integer(0, std::numeric_limits<uint64_t>::max()));
  }
}

} // namespace

std::string writeManifest(const Package &package) {
  Writer writer;
  writer.field("model_name", package.modelName);
  writer.field("target", package.target);
  writer.object["kernel_abi"] = kernelAbiOf(package.target.device);
  writer.field("kernels_built", package.kernelsBuilt);
  writer.field("layers", package.layers);
  writer.object["compile_ms"] = package.compileMs;
  json images = json::array();
  for (const Image &image : package.images)
    images.push_back({{"key", image.key},
                      {"bytes", image.bytes.size()},
                      {"name", image.name},
                      {"resources", fieldsjson::write(image.resources)}});
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
  const uint64_t abi = root["kernel_abi"].integer(0, UINT32_MAX);
  reader.field("kernels_built", package.kernelsBuilt);
  reader.field("layers", package.layers);
  JsonValue compileMs = root["compile_ms"];
  for (const std::string &stage : compileMs.keys())
    package.compileMs[stage] = compileMs[stage.c_str()].number();
  readImages(root["images"], package.images, imageBytes);

  JsonValue layers = root["layers"];
  for (size_t index = 0; index < package.layers.size(); ++index)
    checkLayer(layers.at(index), package.layers[index], package.images.size());
  if (const uint32_t ours = kernelAbiOf(package.target.device); document->status().ok() && abi != ours)
    return makeError(Code::InvalidArgument, "the package's kernels have ABI {}, this build's have {}: compile it again",
                     abi, ours);
  return document->status();
}

} // namespace moec
