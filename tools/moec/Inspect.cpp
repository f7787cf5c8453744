// `moec inspect`: what a file is, and what is in it.
#include "tools/moec/Explain.h"
#include "tools/moec/ExplainCuda.h"
#include "tools/moec/Setup.h"
#include "tools/moec/Verbs.h"

#include "compiler/core/FieldsJson.h"
#include "compiler/core/PackageJson.h"
#include "compiler/core/Placement.h"
#include "compiler/core/Profile.h"
#include "runtime/Model.h"
#include "runtime/recompile/Text.h"
#include "runtime/trace/Events.h"
#include "runtime/weights/Checkpoint.h"
#include "runtime/weights/Text.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

namespace moec::tool {
namespace {

namespace fs = std::filesystem;

constexpr const char *footer = R"(Example:
  moec inspect tests/golden/mixtral/model.safetensors
Knows packages, checkpoints (.safetensors, or a folder of them with --weights), model descriptions, Hugging Face configs,
profiles and placements.)";

struct InspectOptions {
  std::string path, format = "text";
  bool weights = false;
  CacheOptions cache;
};

/// A result in both formats.
struct Shown {
  std::string text;
  nlohmann::json json;
};

std::string shapeLine(const LayerShape &shape, const RouterSpec &router) {
  std::string text = dimensionsText(shape);
  if (shape.sharedIntermediate)
    text += fmt::format(", shared {}{}", shape.sharedIntermediate, shape.sharedGate ? " gated" : "");
  if (shape.expertBias)
    text += ", biases";
  if (shape.weightOnInput)
    text += ", weights on inputs";
  const Scoring scoring = router.before != Scoring::None ? router.before : router.after;
  text +=
      fmt::format(", {} {} top-k", fieldsjson::nameOf(scoring), router.before != Scoring::None ? "before" : "after");
  if (router.groups > 1)
    text += fmt::format(", {} of {} groups", router.groupsPicked, router.groups);
  return text;
}

Shown showModel(const Model &model) {
  Shown shown{fmt::format("model {}: {}\n", model.name(), counted(model.layers().size(), "MoE layer")),
              {{"schema", "moec.inspect"}, {"schema_version", 1}, {"kind", "model"}, {"name", model.name()}}};
  const std::string description = ModelDescription{model.name(), model.layers()}.toJson();
  shown.json["layers"] = nlohmann::json::parse(description, nullptr, false)["layers"];
  for (const LayerDescription &layer : model.layers())
    shown.text += fmt::format("  layer {:>3}: {}\n", layer.layer, shapeLine(layer.shape, layer.router));
  return shown;
}

std::string imageLines(const Package &package) {
  if (package.target.device == DeviceKind::Cuda)
    return kernelLines(package);
  std::string text;
  for (size_t index = 0; index < package.images.size(); ++index)
    text += fmt::format("  image {:>3}: {}\n", index, bytesText(package.images[index].bytes.size()));
  return text;
}

Shown showPackage(const Package &package, uint64_t bytes) {
  const bool cuda = package.target.device == DeviceKind::Cuda;
  Shown shown{fmt::format("package of {}: {}, target {} ({}), {}, {}\n", package.modelName, bytesText(bytes),
                          package.target.name, cuda ? package.target.arch : isaName(package.target.isa),
                          counted(package.layers.size(), "layer"), counted(package.images.size(), "image")),
              {{"schema", "moec.inspect"}, {"schema_version", 1}, {"kind", "package"}, {"bytes", bytes}}};
  shown.json["manifest"] = nlohmann::json::parse(writeManifest(package), nullptr, false);
  for (const LayerPackage &layer : package.layers) {
    std::vector<std::string> launches;
    for (const Launch &launch : layer.launches)
      launches.push_back(launchName(launch.kind));
    shown.text += fmt::format("  layer {:>3}: {}\n             {}, {} per step of {} tokens{}\n             {}\n",
                              layer.layer, shapeLine(layer.shape, layer.router), layer.plan.config.text(),
                              textOfNs(layer.plan.predictedNs), layer.plannedFor.tokens,
                              cuda ? "" : fmt::format(", image {}", layer.image), fmt::join(launches, " -> "));
  }
  shown.text += imageLines(package);
  return shown;
}

Shown showCheckpoint(const Checkpoint &checkpoint) {
  Shown shown{"", {{"schema", "moec.inspect"}, {"schema_version", 1}, {"kind", "checkpoint"}}};
  uint64_t bytes = 0;
  shown.json["tensors"] = nlohmann::json::array();
  for (std::string_view name : checkpoint.names()) {
    const TensorSpan tensor = *checkpoint.find(name);
    const std::vector<int64_t> shape(tensor.shape.begin(), tensor.shape.end());
    bytes += tensor.byteSize;
    shown.json["tensors"].push_back(
        {{"name", name}, {"dtype", tensorTypeName(tensor.type)}, {"shape", shape}, {"bytes", tensor.byteSize}});
    shown.text += fmt::format("  {:<8} {:<22} {}\n", tensorTypeName(tensor.type), shapeText(shape), inQuotes(name));
  }
  shown.json["bytes"] = bytes;
  shown.text = fmt::format("checkpoint {}: {}, {}\n", checkpoint.path(), counted(checkpoint.numTensors(), "tensor"),
                           bytesText(bytes)) +
               shown.text;
  return shown;
}

Shown showProfile(const Profile &profile) {
  Shown shown{fmt::format("profile: {}, others uniform at {}\n", counted(profile.layers.size(), "layer"),
                          counted(profile.defaultTokens, "token")),
              {{"schema", "moec.inspect"}, {"schema_version", 1}, {"kind", "profile"}}};
  shown.json["default_tokens"] = profile.defaultTokens;
  shown.json["layers"] = nlohmann::json::array();
  for (const auto &[layer, histogram] : profile.layers) {
    shown.json["layers"].push_back({{"layer", layer},
                                    {"tokens", histogram.tokens},
                                    {"experts", histogram.pairs.size()},
                                    {"pairs", histogram.total()},
                                    {"imbalance", imbalance(histogram.pairs)}});
    shown.text += fmt::format("  layer {:>3}: {} tokens, {} pairs to {} experts, imbalance {:.2f}\n", layer,
                              histogram.tokens, histogram.total(), histogram.pairs.size(), imbalance(histogram.pairs));
  }
  return shown;
}

Shown showPlacement(const Placement &placement) {
  Shown shown{fmt::format("placement of {} on {}\n", counted(placement.layers.size(), "layer"),
                          counted(placement.devices, "device")),
              {{"schema", "moec.inspect"}, {"schema_version", 1}, {"kind", "placement"}}};
  shown.json["devices"] = placement.devices;
  shown.json["layers"] = nlohmann::json::array();
  for (const auto &[number, layer] : placement.layers) {
    size_t most = 0;
    for (const std::vector<uint32_t> &on : layer.on)
      most = std::max(most, on.size());
    const size_t copies = layer.numCopies();
    shown.json["layers"].push_back({{"layer", number},
                                    {"experts", layer.numExperts},
                                    {"copies", copies},
                                    {"most_on_a_device", most},
                                    {"devices", layer.on}});
    shown.text += fmt::format("  layer {:>3}: {}, {} more copies, at most {} on a device\n", number,
                              counted(layer.numExperts, "expert"), copies, most);
  }
  return shown;
}

/// The schema that a JSON file, or the first line of a JSONL file, says it has; "" where it says none.
std::string schemaOf(const std::string &text) {
  for (const std::string &part : {text.substr(0, text.find('\n')), text}) {
    nlohmann::json json = nlohmann::json::parse(part, nullptr, false);
    if (json.is_object() && json.contains("schema") && json["schema"].is_string())
      return json["schema"].get<std::string>();
  }
  return "";
}

Result<Shown> inspectModel(const InspectOptions &options, const Tool &tool) {
  Result<std::shared_ptr<Compiler>> compiler = makeCompiler(options.cache, tool.environment);
  if (!compiler)
    return compiler.status();
  Result<std::shared_ptr<const Model>> model = Model::load(options.path, {.compiler = *compiler});
  return model ? Result<Shown>(showModel(**model)) : model.status();
}

Result<Shown> inspectCheckpoint(const std::string &path) {
  Result<Checkpoint> checkpoint = Checkpoint::open(path, {.mode = ReadMode::Pread});
  return checkpoint ? Result<Shown>(showCheckpoint(*checkpoint)) : checkpoint.status();
}

Result<Shown> inspectPackage(const std::string &path, const std::string &text) {
  Result<Package> package = Package::parse({reinterpret_cast<const uint8_t *>(text.data()), text.size()});
  return package ? Result<Shown>(showPackage(*package, text.size())) : package.status().withContext("{}", path);
}

/// By content where that tells, by name where it does not.
Result<Shown> inspectFile(const InspectOptions &options, const Tool &tool) {
  const std::string extension = fs::path(options.path).extension().string();
  if (extension == ".safetensors") // may be far larger than memory: never read whole
    return inspectCheckpoint(options.path);
  Result<std::string> text = readWholeFile(options.path);
  if (!text)
    return text.status();
  if (text->starts_with("MOECPKG\n"))
    return inspectPackage(options.path, *text);
  if (extension == ".mlir")
    return inspectModel(options, tool);
  const std::string schema = schemaOf(*text);
  if (schema == kDecisionTraceSchema || schema == kRoutingTraceSchema)
    return makeError(Code::InvalidArgument, "{} is a {}: read it with 'moec-trace summary {}'", options.path, schema,
                     options.path);
  if (schema == "moec.profile") {
    Result<Profile> profile = Profile::fromJson(*text);
    return profile ? Result<Shown>(showProfile(*profile)) : profile.status().withContext("{}", options.path);
  }
  if (schema == "moec.placement") {
    Result<Placement> placement = Placement::fromJson(*text);
    return placement ? Result<Shown>(showPlacement(*placement)) : placement.status().withContext("{}", options.path);
  }
  if (schema.empty() && extension == ".json")
    return inspectModel(options, tool);
  return makeError(Code::InvalidArgument,
                   "{}: neither package, .safetensors, .mlir, config.json, profile nor placement{}", options.path,
                   schema.empty() ? "" : fmt::format(" (its schema is {})", inQuotes(schema)));
}

Status runInspect(const InspectOptions &options, const Tool &tool) {
  std::error_code error;
  const bool isFolder = fs::is_directory(options.path, error);
  const bool isModel = isFolder && !options.weights && fs::exists(fs::path(options.path) / "config.json", error);
  Result<Shown> shown = isModel                       ? inspectModel(options, tool)
                        : isFolder || options.weights ? inspectCheckpoint(options.path)
                                                      : inspectFile(options, tool);
  if (!shown)
    return shown.status();
  return printResult(options.format == "json" ? jsonText(shown->json) : shown->text);
}

} // namespace

void addInspect(CLI::App &app, Tool &tool) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *verb = addVerb(app, tool, {"inspect", "Say what a file is and what is in it", footer},
                           [options, &tool] { return runInspect(*options, tool); });
  verb->add_option("file", options->path, "file or folder")->required();
  verb->add_flag("--weights", options->weights, "of a model's folder, list the checkpoint's tensors");
  addCacheOptions(verb, options->cache);
  addFormat(verb, options->format);
}

} // namespace moec::tool
