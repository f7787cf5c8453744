// `moec import`: a Hugging Face config.json to a model description.
#include "tools/moec/Setup.h"
#include "tools/moec/Verbs.h"

#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>

namespace moec::tool {
namespace {

namespace fs = std::filesystem;

constexpr const char *footer = R"(Example:
  moec import tests/golden/mixtral -o mixtral.mlir
  moec import tests/golden/deepseek_v3_fp8 --plain-weights -o deepseek.mlir
Only the MoE layers are described; weights stay in their checkpoint and are found by name.)";

struct ImportOptions {
  std::string config, output = "-", name, format = "text";
  uint32_t layers = 0;
  bool plainWeights = false;
  CacheOptions cache;
};

Status summarise(const ImportOptions &options, const ModelDescription &model) {
  if (options.format == "json")
    return printResult(jsonText({{"schema", "moec.import"},
                                 {"schema_version", 1},
                                 {"output", options.output},
                                 {"model", model.name},
                                 {"layers", model.layers.size()}}));
  return printResult(
      fmt::format("{}: {}, {}\n", options.output, model.name, counted(model.layers.size(), "MoE layer")));
}

Status runImport(const ImportOptions &options, const Tool &tool) {
  std::error_code error;
  const bool isFolder = fs::is_directory(options.config, error);
  const fs::path file = isFolder ? fs::path(options.config) / "config.json" : fs::path(options.config);
  Result<std::string> config = readWholeFile(file.string());
  if (!config)
    return config.status();
  Result<std::shared_ptr<Compiler>> compiler = makeCompiler(options.cache, tool.environment);
  if (!compiler)
    return compiler.status();
  const std::string name =
      !options.name.empty() ? options.name : fs::weakly_canonical(file, error).parent_path().filename().string();
  Result<std::string> text =
      (*compiler)->import(*config, name, options.layers, CompilePolicy::Allowed, options.plainWeights);
  if (!text)
    return text.status().withContext("{}", file.string());
  if (Status status = writeOutput(options.output, *text); !status.ok() || options.output == "-")
    return status;
  Result<ModelDescription> model = (*compiler)->describe(*text);
  return model ? summarise(options, *model) : model.status();
}

} // namespace

void addImport(CLI::App &app, Tool &tool) {
  auto options = std::make_shared<ImportOptions>();
  CLI::App *verb = addVerb(app, tool, {"import", "Make a model description from a Hugging Face config.json", footer},
                           [options, &tool] { return runImport(*options, tool); });
  verb->add_option("config", options->config, "folder with a config.json, or that file")->required();
  verb->add_option("-o,--output", options->output, "model description to write; - is stdout")->capture_default_str();
  verb->add_option("--layers", options->layers, "only the first so many MoE layers; 0: all")->capture_default_str();
  verb->add_option("--name", options->name, "of the model; default: its folder's");
  addPlainWeights(verb, options->plainWeights);
  addCacheOptions(verb, options->cache);
  addFormat(verb, options->format);
}

} // namespace moec::tool
