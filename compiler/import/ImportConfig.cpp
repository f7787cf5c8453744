#include "compiler/import/ImportConfig.h"

#include "compiler/import/Families.h"
#include "compiler/import/ModelText.h"
#include "compiler/import/QuantisationReads.h"

#include <algorithm>

namespace moec {

namespace {

constexpr size_t maxNameBytes = 200;

/// `name` with at most `maxNameBytes`, cut before a UTF-8 sequence rather than inside it.
std::string cutName(std::string name) {
  if (name.size() <= maxNameBytes)
    return name;
  auto continues = [&](size_t at) { return (static_cast<unsigned char>(name[at]) & 0xc0) == 0x80; };
  size_t end = maxNameBytes;
  // A sequence has three continuation bytes at most; more of them are not UTF-8 and are cut
  // anywhere.
  while (end > maxNameBytes - 3 && continues(end))
    --end;
  name.resize(end);
  return name;
}

/// The last part of the config's own name: all of it may be a path on the machine that wrote the
/// config.
std::string nameOf(const JsonValue &config, const std::string &family) {
  if (!config.has("_name_or_path") || config["_name_or_path"].isNull())
    return family;
  std::string path = config["_name_or_path"].text();
  while (path.ends_with('/'))
    path.pop_back();
  std::string name = path.substr(path.rfind('/') + 1);
  return name.empty() ? family : name;
}

/// Leaves those of `layers` (ascending) that `wanted` names.
Status selectLayers(std::vector<uint32_t> wanted, std::vector<uint32_t> &layers) {
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (uint32_t layer : wanted)
    if (!std::binary_search(layers.begin(), layers.end(), layer))
      return makeError(Code::InvalidArgument,
                       "layer {} is not a MoE layer of this model; it has {} of them, from {} to {}", layer,
                       layers.size(), layers.front(), layers.back());
  if (!wanted.empty())
    layers = std::move(wanted);
  return Status();
}

} // namespace

Result<std::string> importConfig(const std::string &configJson, const ImportOptions &options) {
  Result<JsonDocument> document = JsonDocument::parse(configJson, "config.json", Code::InvalidModel);
  if (!document)
    return document.status();
  JsonValue config = document->root();
  importer::ModelSpec spec = importer::readModelSpec(config);
  if (!options.plainWeights)
    importer::readBlockE4M3(config, spec);
  std::string name = options.name.empty() ? nameOf(config, spec.family) : options.name;
  if (Status status = document->status(); !status.ok())
    return status;
  if (options.dtype)
    spec.shape.dtype = *options.dtype;
  if (Status status = selectLayers(options.layers, spec.layers); !status.ok())
    return status;
  return importer::modelText(spec, cutName(std::move(name)));
}

} // namespace moec
