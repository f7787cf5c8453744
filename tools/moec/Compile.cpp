// `moec compile`: a model to a package, or to the text of a phase.
#include "tools/moec/Emitted.h"
#include "tools/moec/Explain.h"
#include "tools/moec/ExplainCuda.h"
#include "tools/moec/Setup.h"
#include "tools/moec/Verbs.h"

#include "compiler/core/Keys.h"
#include "runtime/Model.h"
#include "runtime/PackBudget.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace moec::tool {
namespace {

constexpr const char *footer = R"(Examples:
  moec compile tests/golden/mixtral --tokens 64 --explain -o mixtral.moecpkg
  moec compile tests/golden/mixtral --emit=planned
  moec compile tests/golden/configs/olmoe-1b-7b --layer 0 --target=h100 --emit=cuda -o kernels
What was compiled before comes from the cache. Nothing but the target's name needs this machine to be able to run it.)";

struct CompileOptions {
  std::string model, profile, target = "cpu", packBudget = "100%", emit = "package", stopAfter, calibration;
  std::string output, format = "text";
  uint32_t tokens = 0, threads = 0;
  std::vector<uint32_t> layers;
  bool explain = false, plainWeights = false;
  CacheOptions cache;

  /// A package, or the cubins in it.
  bool emitsPackage() const { return (emit == "package" || emit == "cubin") && stopAfter.empty(); }
  bool emitsCubins() const { return emit == "cubin" && stopAfter.empty(); }
  bool emitsFiles() const { return (emit == "cuda" || emit == "ptx") && stopAfter.empty(); }
};

/// What was asked of the compiler, and what the plans in the answer were made with.
struct Asked {
  CompileRequest request;
  std::string calibrationSource;
  std::map<uint32_t, PlanLimits> limits; // by layer
};

Status checkOptions(const CompileOptions &options) {
  if (!options.emitsPackage() && options.explain)
    return makeError(Code::InvalidArgument, "--explain tells of a package, and --emit or --stop-after asks for a text");
  if (options.emitsCubins() && (options.output.empty() || options.output == "-"))
    return makeError(Code::InvalidArgument, "-o is missing: which folder should the cubins go to?");
  if (options.emitsPackage() && options.output.empty() && !options.explain)
    return makeError(Code::InvalidArgument, "-o is missing: where should the package go?");
  if (options.emitsPackage() && options.output == "-" && options.explain)
    return makeError(Code::InvalidArgument, "--explain and -o - both write to stdout");
  return {};
}

/// What a planned text was planned for stands, so an option that would plan it otherwise has no effect.
Status checkPlanned(const CompileOptions &options, const std::string &text) {
  const auto isIn = [&](const char *phase) {
    return text.find(fmt::format("moe.phase = \"{}\"", phase)) != std::string::npos;
  };
  if (!isIn("sized") && !isIn("selected") && !isIn("planned"))
    return {};
  for (const auto &[name, isGiven] : {std::pair{"--tokens", options.tokens != 0},
                                      {"--profile", !options.profile.empty()},
                                      {"--pack-budget", options.packBudget != CompileOptions().packBudget}})
    if (isGiven)
      return makeError(Code::InvalidArgument, "{} has no effect: {} is planned already", name, options.model);
  return {};
}

/// The profile as the request's key has it, so that a cached package is planned for exactly what was asked.
Result<Profile> askedProfile(const CompileOptions &options, const Model &model) {
  Profile profile;
  if (!options.profile.empty()) {
    Result<Profile> read = readProfile(options.profile);
    if (!read)
      return read;
    profile = std::move(*read);
  }
  if (options.tokens)
    profile.defaultTokens = options.tokens;
  for (auto &[number, histogram] : profile.layers) {
    Result<const LayerDescription *> layer = profiledLayer(model, profile, number, options.profile);
    if (!layer)
      return layer.status();
    histogram = roundToSizeClasses(histogram);
  }
  return profile;
}

Result<std::vector<const LayerDescription *>> chooseLayers(const CompileOptions &options, const Model &model) {
  std::vector<const LayerDescription *> chosen;
  for (uint32_t number : options.layers) {
    const LayerDescription *layer = model.find(number);
    if (!layer)
      return makeError(Code::InvalidArgument, "the model has no MoE layer {}", number);
    chosen.push_back(layer);
  }
  if (chosen.empty())
    for (const LayerDescription &layer : model.layers())
      chosen.push_back(&layer);
  return chosen;
}

/// Shares the budget among the layers. Where they differ in size the request's one limit does not fit them all, and
/// their plans are made here, by the function that the compiler would call.
void shareBudget(const PackBudget &budget, const std::vector<const LayerDescription *> &layers, Asked &asked) {
  CompileRequest &request = asked.request;
  uint64_t allBytes = 0;
  for (const LayerDescription *layer : layers)
    asked.limits[layer->layer] = request.limits;
  if (request.target.device == DeviceKind::Cuda) // where nothing is packed
    return;
  for (const LayerDescription *layer : layers)
    allBytes += packedExpertBytes(layer->shape, request.target) * layer->shape.experts;
  for (const LayerDescription *layer : layers) {
    const uint64_t bytes = packedExpertBytes(layer->shape, request.target) * layer->shape.experts;
    asked.limits[layer->layer].packBudgetBytes = budget.ofLayer(bytes, allBytes);
  }
  request.limits = asked.limits.begin()->second;
  auto differs = [&](const auto &entry) { return entry.second != request.limits; };
  if (std::none_of(asked.limits.begin(), asked.limits.end(), differs))
    return;
  for (const LayerDescription *layer : layers)
    request.plans[layer->layer] =
        planLayer(layer->shape, request.profile.of(layer->layer, layer->shape.topK, layer->shape.experts),
                  request.target, request.calibration, asked.limits[layer->layer]);
}

Result<Asked> makeRequest(const CompileOptions &options, const Model &model, const TargetFacts &facts) {
  Asked asked;
  CompileRequest &request = asked.request;
  Result<Profile> profile = askedProfile(options, model);
  Result<std::vector<const LayerDescription *>> layers = chooseLayers(options, model);
  Result<PackBudget> budget = PackBudget::parse(options.packBudget);
  for (const Status &status : {profile.status(), layers.status(), budget.status()})
    if (!status.ok())
      return status;
  Result<UsedCalibration> calibration =
      findCalibration(options.calibration, facts, layers->front()->shape, *model.compiler());
  if (!calibration)
    return calibration.status();
  request.model = model.text();
  request.profile = std::move(*profile);
  request.target = facts;
  request.calibration = calibration->figures;
  request.layers = options.layers;
  request.emit = options.emitsCubins() ? "package" : options.emit;
  request.stopAfter = options.stopAfter;
  asked.calibrationSource = calibration->source;
  shareBudget(*budget, *layers, asked);
  return asked;
}

std::string stageTimes(const Package &package) {
  std::string text;
  for (const auto &[stage, ms] : package.compileMs)
    if (stage != "total")
      text += fmt::format("{}{} {:.0f}", text.empty() ? "" : ", ", stage, ms);
  auto total = package.compileMs.find("total");
  return fmt::format("{:.0f} ms ({})", total == package.compileMs.end() ? 0.0 : total->second, text);
}

/// What --explain says, in both formats; empty without it.
struct Explained {
  std::string text;
  nlohmann::json json;
};

Explained explained(const CompileOptions &options, const Asked &asked, const Package &package) {
  if (!options.explain)
    return {};
  const Calibration &calibration = asked.request.calibration;
  if (package.target.device == DeviceKind::Cuda)
    return {cudaExplanationText(package, calibration, asked.calibrationSource),
            cudaExplanationJson(package, calibration, asked.calibrationSource)};
  const Explanation explanation = explain(package, calibration, asked.calibrationSource, asked.limits);
  return {explanationText(explanation, package.target), explanationJson(explanation, package.target)};
}

std::string resultText(const CompileOptions &options, const CompiledPackage &compiled, uint64_t bytes,
                       const Explained &explanation) {
  const Package &package = compiled.package;
  std::string text = explanation.text;
  if (compiled.cacheHit)
    text += fmt::format("Compile: from the cache in {:.0f} ms; it once took {}.\n", compiled.milliseconds,
                        stageTimes(package));
  else
    text += fmt::format("Compile: {}; {} built.\n", stageTimes(package), counted(package.kernelsBuilt, "kernel"));
  if (!options.output.empty())
    text +=
        fmt::format("{}: {}, {}, {}, {}\n", options.output, package.modelName, counted(package.layers.size(), "layer"),
                    counted(package.images.size(), "image"), bytesText(bytes));
  return text;
}

nlohmann::json resultJson(const CompileOptions &options, const CompiledPackage &compiled, uint64_t bytes,
                          const Explained &explanation) {
  const Package &package = compiled.package;
  const bool cuda = package.target.device == DeviceKind::Cuda;
  nlohmann::json json = {{"schema", "moec.compile-result"},
                         {"schema_version", 1},
                         {"output", options.output},
                         {"model", package.modelName},
                         {"target", package.target.name},
                         {"isa", cuda ? package.target.arch : isaName(package.target.isa)},
                         {"layers", package.layers.size()},
                         {"images", package.images.size()},
                         {"bytes", bytes},
                         {"cache_hit", compiled.cacheHit},
                         {"milliseconds", compiled.milliseconds},
                         {"compile_ms", package.compileMs},
                         {"kernels_built", compiled.cacheHit ? 0 : package.kernelsBuilt}};
  if (options.explain)
    json["explanation"] = explanation.json;
  return json;
}

/// Writes the package, or its cubins into a folder; how many bytes.
Result<uint64_t> writePackage(const CompileOptions &options, const Package &package) {
  if (options.emitsCubins())
    return writeCubins(options.output, package);
  const std::vector<uint8_t> bytes = package.serialise();
  if (!options.output.empty())
    if (Status status = writeOutput(options.output, bytes); !status.ok())
      return status;
  return bytes.size();
}

Status compilePackage(const CompileOptions &options, const Asked &asked, Compiler &compiler) {
  Result<CompiledPackage> compiled = compiler.compile(asked.request);
  if (!compiled)
    return compiled.status();
  Result<uint64_t> bytes = writePackage(options, compiled->package);
  if (!bytes || options.output == "-")
    return bytes.status();
  const Explained explanation = explained(options, asked, compiled->package);
  return printResult(options.format == "json" ? jsonText(resultJson(options, *compiled, *bytes, explanation))
                                              : resultText(options, *compiled, *bytes, explanation));
}

Status runCompile(const CompileOptions &options, const Tool &tool) {
  if (Status status = checkOptions(options); !status.ok())
    return status;
  Result<TargetFacts> facts = compileTarget(options.target, options.threads, tool.environment);
  if (!facts)
    return facts.status();
  Result<std::shared_ptr<Compiler>> compiler = makeCompiler(options.cache, tool.environment);
  if (!compiler)
    return compiler.status();
  Result<std::shared_ptr<const Model>> model =
      Model::load(options.model, {.compiler = *compiler, .plainWeights = options.plainWeights});
  if (!model)
    return model.status();
  if (Status status = checkPlanned(options, (*model)->text()); !status.ok())
    return status;
  Result<Asked> asked = makeRequest(options, **model, *facts);
  if (!asked)
    return asked.status();
  if (options.emitsPackage())
    return compilePackage(options, *asked, **compiler);
  Result<std::string> text = (*compiler)->emit(asked->request);
  if (text && options.emitsFiles())
    return writeEmitted(options.output, *text);
  return text ? writeOutput(options.output.empty() ? "-" : options.output, *text) : text.status();
}

} // namespace

void addCompile(CLI::App &app, Tool &tool) {
  auto options = std::make_shared<CompileOptions>();
  CLI::App *verb = addVerb(app, tool, {"compile", "Compile a model to a package", footer},
                           [options, &tool] { return runCompile(*options, tool); });
  verb->add_option("model", options->model, "Hugging Face folder, config.json, .mlir or package")->required();
  verb->add_option(
      "-o,--output", options->output,
      "file to write, of --emit=cuda, ptx and cubin the folder; - is stdout, which is the default for texts");
  addPlainWeights(verb, options->plainWeights);
  verb->add_option("--profile", options->profile, "typical routing to plan for (moec-trace profile writes them)");
  verb->add_option("--tokens", options->tokens, "tokens of a step, for layers that are not in the profile; default 256")
      ->check(CLI::Range(1u, 1u << 24));
  verb->add_option("--target", options->target, targetNames)->capture_default_str();
  verb->add_option("--threads", options->threads, "threads of a step; 0: this machine's")->check(CLI::Range(0u, 1024u));
  verb->add_option("--layer", options->layers, "compile this layer only, by the model's number; may be repeated");
  verb->add_option("--pack-budget", options->packBudget, "memory for packed weights: a share (40%) or bytes (2GiB)")
      ->capture_default_str();
  verb->add_option("--calibration", options->calibration,
                   "figures to predict with; default: the cache's, else assumed");
  CLI::Option *emit = verb->add_option("--emit", options->emit, "what to write");
  emit->check(CLI::IsMember({"package", "input", "grouped", "sized", "selected", "planned", "launches", "kernels",
                             "llvm", "asm", "cuda", "ptx", "cubin"}))
      ->capture_default_str();
  verb->add_option("--stop-after", options->stopAfter, "write the model as it is after this phase")
      ->check(CLI::IsMember({"input", "grouped", "sized", "selected", "planned", "launches"}))
      ->excludes(emit);
  verb->add_flag("--explain", options->explain, "say what was planned, why, and what it cost to compile");
  addCacheOptions(verb, options->cache);
  addFormat(verb, options->format);
}

} // namespace moec::tool
