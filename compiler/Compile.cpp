#include "compiler/Compile.h"

#include "compiler/CpuImage.h"
#include "compiler/CudaImage.h"
#include "compiler/Diagnostics.h"
#include "compiler/Extract.h"
#include "compiler/core/Keys.h"
#include "ir/Moe.h"
#include "passes/Passes.h"
#include "passes/PlanFromIr.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

#include <algorithm>
#include <chrono>

using namespace mlir;

namespace moec {
namespace {

// A model of a few hundred layers is well under this; more is not a model.
constexpr size_t kMaxModelText = 64u << 20;

double nowMs() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A context of its own per compile, single-threaded: a background compile stays on its one thread.
struct Compilation {
  MLIRContext context{MLIRContext::Threading::DISABLED};
  DiagnosticLog log{context};
  OwningOpRef<ModuleOp> module;

  Compilation() {
    // A message names its line; a whole layer printed after it would hide it.
    context.printOpOnDiagnostic(false);
    context.loadDialect<moe::MoeDialect, arith::ArithDialect, func::FuncDialect, math::MathDialect>();
  }

  Status parse(const std::string &text) {
    if (text.size() > kMaxModelText)
      return makeError(Code::InvalidModel, "the model's text has {} bytes, at most {} are read", text.size(),
                       kMaxModelText);
    module = parseSourceString<ModuleOp>(text, ParserConfig(&context));
    if (!module)
      return makeError(Code::InvalidModel, "the model does not parse: {}", log.text());
    return {};
  }

  Status lowerTo(passes::Phase to) {
    FailureOr<passes::Phase> from = passes::phaseOf(*module);
    if (failed(from))
      return makeError(Code::InvalidModel, "{}", log.text());
    if (*from > to)
      return makeError(Code::InvalidModel, "the model is in phase {} already, past {}", passes::phaseName(*from).str(),
                       passes::phaseName(to).str());
    PassManager manager(&context);
    passes::addPhases(manager, *from, to);
    if (failed(manager.run(*module)))
      return makeError(Code::InvalidModel, "the model does not lower to phase {}: {}", passes::phaseName(to).str(),
                       log.text());
    return {};
  }
};

int64_t numberOf(func::FuncOp layer) {
  auto number = layer->getAttrOfType<IntegerAttr>(moe::kLayerAttr);
  return number ? number.getInt() : -1;
}

/// Drops the layers that were not asked for.
Status keepLayers(ModuleOp module, const std::vector<uint32_t> &layers) {
  if (layers.empty())
    return {};
  for (uint32_t wanted : layers)
    if (llvm::none_of(module.getOps<func::FuncOp>(), [&](func::FuncOp layer) { return numberOf(layer) == wanted; }))
      return makeError(Code::InvalidArgument, "the model has no MoE layer {}", wanted);
  for (func::FuncOp layer : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
    if (llvm::find(layers, numberOf(layer)) == layers.end())
      layer.erase();
  return {};
}

/// Writes target, profile and decided plans onto the module, where the passes read them.
void annotate(ModuleOp module, const CompileRequest &request) {
  passes::writeTarget(module, request.target, request.limits, request.calibration);
  Builder builder(module.getContext());
  for (auto layer : module.getOps<func::FuncOp>()) {
    uint32_t number = static_cast<uint32_t>(numberOf(layer));
    auto profile = request.profile.layers.find(number);
    if (profile != request.profile.layers.end()) {
      // Planned for what the request key says, so that two requests with one key get one package.
      Histogram rounded = roundToSizeClasses(profile->second);
      SmallVector<int32_t> pairs(rounded.pairs.begin(), rounded.pairs.end());
      layer->setAttr(passes::kTokensAttr, builder.getI64IntegerAttr(rounded.tokens));
      layer->setAttr(passes::kPairsAttr, builder.getDenseI32ArrayAttr(pairs));
    } else {
      layer->setAttr(passes::kTokensAttr, builder.getI64IntegerAttr(request.profile.defaultTokens));
      layer->removeAttr(passes::kPairsAttr); // of a text that was printed with another profile
    }
    auto plan = request.plans.find(number);
    if (plan != request.plans.end())
      passes::writePlan(layer, plan->second);
  }
}

/// Whether a text has been planned already, if only in part: then it says for what, and a compile goes on from there.
bool isPlannedText(ModuleOp module) {
  FailureOr<passes::Phase> phase = passes::phaseOf(module);
  return succeeded(phase) && *phase > passes::Phase::Grouped;
}

/// That a text which has been planned already can go on to this request's target. What it was planned for and with
/// (profile, limits, calibration) stands; only plans that were decided elsewhere would contradict it.
Status checkPlannedText(ModuleOp module, const CompileRequest &request) {
  const std::string phase = module->getAttrOfType<StringAttr>(moe::kPhaseAttr).getValue().str();
  if (!request.plans.empty())
    return makeError(
        Code::InvalidModel,
        "the model's text is planned already (phase {}), and this compile brings plans of its own; it needs a "
        "text in phase input or grouped",
        phase);
  FailureOr<TargetFacts> target = passes::targetOf(module);
  if (failed(target))
    return makeError(Code::InvalidModel, "the model's text is in phase {} but has no readable {}", phase,
                     passes::kTargetAttr.str());
  bool same = module->hasAttr(passes::kTargetAttr) && target->device == request.target.device &&
              target->arch == request.target.arch && target->isa == request.target.isa;
  module.walk([&](moe::GroupedFfnOp grouped) {
    if (!grouped.getConfig())
      return;
    const LayerConfig config = passes::fromAttribute(*grouped.getConfig());
    same &= config.device == request.target.device &&
            (config.device == DeviceKind::Cuda || config.cpu.isa == request.target.isa);
  });
  if (!same)
    return makeError(Code::InvalidModel, "the model's text was planned (phase {}) for another target than {}", phase,
                     request.target.name);
  return {};
}

Status prepare(Compilation &compilation, const CompileRequest &request, passes::Phase to) {
  if (Status status = compilation.parse(request.model); !status.ok())
    return status;
  if (Status status = keepLayers(*compilation.module, request.layers); !status.ok())
    return status;
  if (!isPlannedText(*compilation.module))
    annotate(*compilation.module, request);
  else if (Status status = checkPlannedText(*compilation.module, request); !status.ok())
    return status;
  return compilation.lowerTo(to);
}

/// Images of one compile, each built or found once.
class ImageStore {
public:
  ImageStore(Package &package, const CompileHooks &hooks) : package(package), hooks(hooks) {}

  Result<uint32_t> indexOf(const LayerCode &code) {
    std::string key = imageKey(code);
    for (uint32_t index = 0; index < package.images.size(); ++index)
      if (package.images[index].key == key)
        return index;
    std::optional<std::vector<uint8_t>> bytes = hooks.findImage ? hooks.findImage(key) : std::nullopt;
    if (!bytes) {
      Result<std::vector<uint8_t>> built = buildImage(code, package.compileMs);
      if (!built)
        return built.status();
      bytes = std::move(*built);
      package.kernelsBuilt += static_cast<uint32_t>(code.tiles.size() + code.packs.size());
      if (hooks.putImage)
        hooks.putImage(key, *bytes);
    }
    package.images.push_back({std::move(key), std::move(*bytes)});
    return static_cast<uint32_t>(package.images.size() - 1);
  }

private:
  Package &package;
  const CompileHooks &hooks;
};

/// What a planned layer says of itself, and what it was planned for.
Result<LayerPackage> describePlanned(func::FuncOp layer, const CompileRequest &request) {
  Result<LayerDescription> description = describeLayer(layer);
  if (!description)
    return description.status();
  LayerPackage package;
  package.layer = description->layer;
  package.shape = description->shape;
  package.router = description->router;
  package.weights = description->weights;
  package.plan = planOfLayer(layer);
  FailureOr<Histogram> plannedFor = passes::histogramOf(layer, package.shape, request.profile.defaultTokens);
  if (failed(plannedFor))
    return makeError(Code::InvalidModel, "layer {} has a malformed profile", package.layer);
  package.plannedFor = std::move(*plannedFor);
  auto decided = request.plans.find(package.layer);
  package.plan.predictedNs = decided != request.plans.end()
                                 ? decided->second.predictedNs
                                 : predictLayer(package.shape, package.plan, package.plan.config, package.plannedFor,
                                                request.target, request.calibration);
  return package;
}

/// Fills launches and images of a package whose layers are those of `layers`.
Status buildCpuImages(const std::vector<func::FuncOp> &layers, const CompileHooks &hooks, Package &package) {
  ImageStore images(package, hooks);
  for (size_t index = 0; index < layers.size(); ++index) {
    LayerPackage &layer = package.layers[index];
    if (hooks.cancelled && hooks.cancelled())
      return makeError(Code::Cancelled, "the compile was cancelled before layer {}", layer.layer);
    LayerCode code = codeOf(layers[index]);
    Result<uint32_t> image = images.indexOf(code);
    if (!image)
      return image.status().withContext("layer {}", layer.layer);
    layer.launches = std::move(code.launches);
    layer.image = *image;
  }
  return {};
}

bool isCpuText(const std::string &emit) { return emit == "llvm" || emit == "asm" || emit == "kernels"; }
bool isCudaText(const std::string &emit) { return emit == "cuda" || emit == "ptx"; }

/// That the target has what `emit` asks for.
Status checkEmit(const CompileRequest &request) {
  const bool cuda = request.target.device == DeviceKind::Cuda;
  if (cuda ? isCpuText(request.emit) : isCudaText(request.emit))
    return makeError(Code::InvalidArgument,
                     "target {} has no '{}': a CPU has kernels, llvm and asm, a GPU cuda and ptx", request.target.name,
                     request.emit);
  return {};
}

} // namespace

Result<Package> compile(const CompileRequest &request, const CompileHooks &hooks) {
  double start = nowMs();
  Compilation compilation;
  if (Status status = prepare(compilation, request, passes::Phase::Planned); !status.ok())
    return status;
  Package package;
  package.modelText = request.model;
  package.target = request.target;
  if (auto name = (*compilation.module)->getAttrOfType<StringAttr>(moe::kModelAttr))
    package.modelName = name.getValue().str();
  for (auto layer : compilation.module->getOps<func::FuncOp>()) {
    Result<LayerPackage> described = describePlanned(layer, request);
    if (!described)
      return described.status();
    package.layers.push_back(std::move(*described));
  }
  if (Status status = compilation.lowerTo(passes::Phase::Launches); !status.ok())
    return status;
  package.compileMs["passes"] = nowMs() - start;
  const auto layers = llvm::to_vector(compilation.module->getOps<func::FuncOp>());
  const std::vector<func::FuncOp> functions(layers.begin(), layers.end());
  const double beforeImages = nowMs();
  Status built = request.target.device == DeviceKind::Cuda ? buildCudaImages(functions, request, hooks, package)
                                                           : buildCpuImages(functions, hooks, package);
  if (!built.ok())
    return built;
  package.compileMs["images"] = nowMs() - beforeImages;
  std::sort(package.layers.begin(), package.layers.end(), [](auto &a, auto &b) { return a.layer < b.layer; });
  package.compileMs["total"] = nowMs() - start;
  return package;
}

Result<std::string> compileToText(const CompileRequest &request) {
  if (Status status = checkEmit(request); !status.ok())
    return status;
  bool kernels = isCpuText(request.emit) || isCudaText(request.emit);
  std::string phaseName = kernels ? "launches" : !request.stopAfter.empty() ? request.stopAfter : request.emit;
  std::optional<passes::Phase> phase = passes::parsePhase(phaseName);
  if (!phase)
    return makeError(
        Code::InvalidArgument,
        "cannot emit '{}': expected package, llvm, asm, kernels, cuda, ptx, or a phase (input, grouped, sized, "
        "selected, planned, launches)",
        phaseName);
  Compilation compilation;
  if (Status status = prepare(compilation, request, *phase); !status.ok())
    return status;
  if (kernels) {
    auto layers = compilation.module->getOps<func::FuncOp>();
    if (layers.empty())
      return makeError(Code::InvalidModel, "the model has no MoE layer");
    if (isCudaText(request.emit))
      return emitCuda(std::vector<func::FuncOp>(layers.begin(), layers.end()), request);
    return emitText(codeOf(*layers.begin()), request.emit);
  }
  std::string text;
  llvm::raw_string_ostream stream(text);
  compilation.module->print(stream);
  return text;
}

Result<ModelDescription> describe(const std::string &model) {
  Compilation compilation;
  if (Status status = compilation.parse(model); !status.ok())
    return status;
  // What a planned text adds does not change what the layers are; a list of launches no longer says it.
  passes::Phase to = isPlannedText(*compilation.module) ? passes::Phase::Planned : passes::Phase::Grouped;
  if (Status status = compilation.lowerTo(to); !status.ok())
    return status;
  return describeModel(*compilation.module);
}

} // namespace moec
