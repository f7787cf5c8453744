#include "runtime/Model.h"

#include "runtime/device/cpu/Route.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace moec {
namespace {

namespace fs = std::filesystem;

Result<std::string> readFile(const fs::path &path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error))
    return makeError(Code::NotFound, "{}: no such file", path.string());
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file)
    return makeError(Code::Failure, "{}: cannot be read", path.string());
  return std::move(text).str();
}

bool isPackage(const std::string &bytes) { return bytes.starts_with("MOECPKG\n"); }

/// Bounds of what plans, tables and index types can hold.
Status checkShape(const LayerDescription &layer) {
  constexpr uint32_t maxExperts = 1u << 16, maxWidth = 1u << 20; // ids in tables are 16 bits wide
  const LayerShape &shape = layer.shape;
  if (shape.experts == 0 || shape.experts > maxExperts)
    return makeError(Code::InvalidModel, "layer {}: {} experts", layer.layer, shape.experts);
  for (uint32_t width : {shape.hidden, shape.intermediate})
    if (width == 0 || width > maxWidth)
      return makeError(Code::InvalidModel, "layer {}: hidden {} and intermediate {} must be 1 to {}", layer.layer,
                       shape.hidden, shape.intermediate, maxWidth);
  if (shape.sharedIntermediate > maxWidth)
    return makeError(Code::InvalidModel, "layer {}: shared intermediate {}", layer.layer, shape.sharedIntermediate);
  return checkRouter(layer.router, shape).withContext("layer {}", layer.layer);
}

} // namespace

Status Model::loadPackage(const std::string &path, const std::string &bytes) {
  Result<Package> package = Package::parse({reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()});
  if (!package)
    return package.status().withContext("{}", path);
  modelText = package->modelText;
  description.name = package->modelName;
  for (const LayerPackage &layer : package->layers)
    description.layers.push_back({layer.layer, layer.shape, layer.router, layer.weights});
  auto byNumber = [](const auto &a, const auto &b) { return a.layer < b.layer; };
  std::sort(description.layers.begin(), description.layers.end(), byNumber);
  loaded = std::move(*package);
  return {};
}

Result<std::shared_ptr<const Model>> Model::load(const std::string &path, Options options) {
  auto model = std::make_shared<Model>();
  model->theCompiler = options.compiler ? options.compiler : std::make_shared<Compiler>(Compiler::Options());
  std::error_code error;
  const bool isFolder = fs::is_directory(path, error);
  const fs::path file = isFolder ? fs::path(path) / "config.json" : fs::path(path);
  Result<std::string> text = readFile(file);
  if (!text)
    return text.status();
  if (options.plainWeights && (isPackage(*text) || file.extension() != ".json"))
    return makeError(Code::InvalidArgument,
                     "{}: plain weights can be asked of a config.json alone; what is imported already says how its "
                     "weights are stored",
                     path);
  if (isPackage(*text)) {
    if (Status status = model->loadPackage(path, *text); !status.ok())
      return status;
  } else {
    if (file.extension() == ".json") {
      model->location = file.parent_path().string();
      // A relative "." has no name of its own.
      const std::string name = fs::weakly_canonical(file, error).parent_path().filename().string();
      Result<std::string> imported =
          model->theCompiler->import(*text, name, options.layers, options.policy, options.plainWeights);
      if (!imported)
        return imported.status().withContext("{}", file.string());
      text = std::move(imported);
    }
    model->modelText = std::move(*text);
    Result<ModelDescription> description = model->theCompiler->describe(model->modelText, options.policy);
    if (!description)
      return description.status().withContext("{}", path);
    model->description = std::move(*description);
  }
  std::vector<LayerDescription> &layers = model->description.layers;
  if (options.layers && layers.size() > options.layers)
    layers.resize(options.layers);
  if (layers.empty())
    return makeError(Code::InvalidModel, "{}: the model has no MoE layer", path);
  for (const LayerDescription &layer : layers)
    if (Status status = checkShape(layer); !status.ok())
      return status.withContext("{}", path);
  return std::shared_ptr<const Model>(std::move(model));
}

const LayerDescription *Model::find(uint32_t layer) const {
  for (const LayerDescription &candidate : description.layers)
    if (candidate.layer == layer)
      return &candidate;
  return nullptr;
}

} // namespace moec
