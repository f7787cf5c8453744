#include "tools/moec/Warm.h"

#include "runtime/Session.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace moec::tool {
namespace {

Result<Session> openForWarming(const WarmOptions &options, const Tool &tool, std::shared_ptr<const Model> model) {
  SessionOptions session;
  session.device = options.target;
  session.threads = options.threads ? options.threads : tool.environment.threads;
  session.plannedTokens = options.tokens;
  session.maxTokens = session.maxSteps = 1;
  // Kernels depend neither on weights nor on what of them is packed.
  session.weights = "random:seed=0";
  session.packBudget.bytes = 0;
  session.mode = Mode::Off;
  return Session::open(std::move(model), std::move(session));
}

} // namespace

void addWarmOptions(CLI::App *verb, WarmOptions &options) {
  verb->add_option("model", options.models, "Hugging Face folders, config.json, .mlir or packages")->required();
  verb->add_option("--target", options.target, "cpu, cpu-avx2, cpu-avx512 or cpu-avx512bf16; this machine must have it")
      ->capture_default_str();
  verb->add_option("--threads", options.threads, "of the sessions to come; 0: all processors")
      ->check(CLI::Range(0u, 1024u));
  verb->add_option("--tokens", options.tokens, "that the sessions' generation 0 is planned for")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  verb->add_option("--layers", options.layers, "only the first so many MoE layers; 0: all");
  addCacheOptions(verb, options.cache, /*canBeOff=*/false);
  addFormat(verb, options.format);
}

Status runWarm(const WarmOptions &options, const Tool &tool) {
  Result<std::string> folder = cacheFolder(options.cache, tool.environment);
  if (!folder)
    return folder.status();
  Result<std::shared_ptr<Compiler>> compiler = makeCompiler(options.cache, tool.environment);
  if (!compiler)
    return compiler.status();
  nlohmann::json json = {{"schema", "moec.cache-warm"}, {"schema_version", 1}, {"folder", *folder}};
  std::string text;
  for (const std::string &path : options.models) {
    Result<std::shared_ptr<const Model>> model = Model::load(path, {.compiler = *compiler, .layers = options.layers});
    if (!model)
      return model.status();
    Result<Session> session = openForWarming(options, tool, *model);
    if (!session)
      return session.status().withContext("{}", path);
    const BuildReport &built = session->opened();
    json["models"].push_back({{"model", path},
                              {"layers", (*model)->layers().size()},
                              {"cache_hit", built.cacheHit},
                              {"kernels_built", built.kernelsBuilt},
                              {"compile_ms", built.compileMs}});
    text += fmt::format("{}: {}, {}, {} built, {:.0f} ms\n", path, counted((*model)->layers().size(), "layer"),
                        built.cacheHit ? "was warm" : "warmed", counted(built.kernelsBuilt, "kernel"), built.compileMs);
  }
  return printResult(options.format == "json" ? jsonText(json) : text);
}

} // namespace moec::tool
