#include "compiler/codegen/cuda/LayerKernels.h"

#include "compiler/codegen/cuda/Functor.h"
#include "compiler/core/CudaLaunch.h"
#include "compiler/core/CudaTiles.h"
#include "compiler/jit/ShippedFp8.h"
#include "ir/Moe.h"
#include "passes/PlanFromIr.h"

#include <optional>
#include <utility>

using namespace mlir;

namespace moec::codegen {
namespace {

int64_t dim(Value value, unsigned index) { return cast<RankedTensorType>(value.getType()).getDimSize(index); }

RouteScoring scoringOf(Attribute attribute) {
  auto scoring = dyn_cast_or_null<moe::ScoringKindAttr>(attribute);
  if (!scoring)
    return RouteScoring::None;
  return scoring.getValue() == moe::ScoringKind::Softmax ? RouteScoring::Softmax : RouteScoring::Sigmoid;
}

/// Kernels from the launches of one layer.
class LayerKernels {
public:
  /// `shared`: whether the layer has a shared expert.
  LayerKernels(const CudaConfig &config, const std::string &arch, bool shared)
      : config(config), arch(arch), shared(shared) {}

  Result<std::vector<LaunchKernel>> of(moe::LaunchOp op) {
    switch (op.getKind()) {
    case moe::LaunchKind::Route: return route(op);
    case moe::LaunchKind::Dispatch: return dispatch(op);
    case moe::LaunchKind::GateUp: return gemm(op, config.gateUp, GemmRole::GateUp, false);
    case moe::LaunchKind::Down: return gemm(op, config.down, GemmRole::Down, false);
    case moe::LaunchKind::SharedGateUp: return gemm(op, config.sharedGateUp, GemmRole::GateUp, true);
    case moe::LaunchKind::SharedDown: return gemm(op, config.sharedDown, GemmRole::Down, true);
    case moe::LaunchKind::Store: return store();
    case moe::LaunchKind::Router: return router(static_cast<uint32_t>(op.getColumns().value_or(0)));
    }
    return std::vector<LaunchKernel>();
  }

private:
  Element element() const { return config.element == DType::BF16 ? Element::BF16 : Element::F16; }

  static LaunchKernel kernelOf(ShippedKernel kernel, uint32_t threads, uint32_t dynamicSharedBytes,
                               KernelRef ref = {}) {
    return {{std::move(kernel.name), std::move(kernel.unit), threads, dynamicSharedBytes}, std::move(ref)};
  }

  Result<std::vector<LaunchKernel>> router(uint32_t experts) {
    std::vector<LaunchKernel> kernels;
    for (const auto &[router, maxTokens] : routerChoices(element(), experts, arch))
      kernels.push_back(kernelOf(shippedRouterLogits(router), routerThreads(router), routerSharedBytes(router),
                                 {.rows = static_cast<uint16_t>(router.tileTokens),
                                  .symbol = "",
                                  .columns = static_cast<uint16_t>(router.tileExperts),
                                  .maxTokens = maxTokens}));
    return kernels;
  }

  Result<std::vector<LaunchKernel>> route(moe::LaunchOp op) {
    DictionaryAttr spec = op.getSpec().value_or(DictionaryAttr());
    auto number = [&](StringRef name) { // absent: the op's default
      auto value = spec ? spec.getAs<IntegerAttr>(name) : IntegerAttr();
      return value ? static_cast<uint32_t>(value.getInt()) : 1;
    };
    RouteConfig route{.experts = static_cast<uint32_t>(dim(op.getInputs()[0], 1)),
                      .topK = static_cast<uint32_t>(dim(op.getResult(0), 1)),
                      .before = scoringOf(spec ? spec.get("before") : Attribute()),
                      .after = scoringOf(spec ? spec.get("after") : Attribute()),
                      .correctionBias = op.getInputs().size() > 1,
                      .renormalise = spec && spec.contains("epsilon"),
                      .groups = number("groups"),
                      .groupsPicked = number("groups_picked"),
                      .groupTop = number("group_top"),
                      .threads = kRouteThreads};
    if (route.groups > kMostGroups)
      return makeError(Code::InvalidModel, "{} groups of experts, but GPU kernels take at most {}", route.groups,
                       kMostGroups);
    return std::vector{kernelOf(shippedRoute(route), route.threads, 0)};
  }

  Result<std::vector<LaunchKernel>> dispatch(moe::LaunchOp op) {
    topK = dim(op.getInputs()[1], 1);
    if (topK > kMostTopK)
      return makeError(Code::InvalidModel, "{} experts per token, but GPU kernels take at most {}", topK, kMostTopK);
    joined = op.getJoined();
    const auto experts = static_cast<uint32_t>(dim(op.getResult(2), 0));
    if (experts > kMostExperts)
      return makeError(Code::InvalidModel, "{} experts, but GPU kernels take at most {}", experts, kMostExperts);
    const DispatchConfig dispatch = dispatchConfigOf(experts, joined);
    std::vector<LaunchKernel> kernels;
    for (const char *step : dispatchSteps(arch))
      kernels.push_back(kernelOf(shippedDispatch(step, dispatch), dispatch.threads, 0));
    return kernels;
  }

  Result<std::vector<LaunchKernel>> gemm(moe::LaunchOp op, const CudaTile &tile, GemmRole role, bool dense) {
    if (dense && !hasDenseForm(tile))
      return makeError(Code::InvalidModel, "tile {} has no dense form", tile.text());
    GemmConfig gemm = gemmConfig(tile, element(), role, dense);
    gemm.biased = op.getBiased();
    gemm.weighted = op.getWeightOnInput();
    gemm.combines = role == GemmRole::Down && !dense && downCombines(static_cast<uint64_t>(topK), shared, tile.family);
    weightOnInput |= gemm.weighted;
    const bool fp8 = tile.family == GemmFamily::Fp8;
    if (fp8 && (config.element != DType::BF16 || gemm.biased || gemm.weighted))
      return makeError(Code::InvalidModel, "tile {} has bf16 outputs, no biases and no weights on inputs", tile.text());
    std::optional<Functor> functor;
    if (role == GemmRole::GateUp) {
      Result<Functor> made = functorOf(op.getActivation());
      if (!made)
        return made.status();
      functor = std::move(*made);
    }
    std::vector kernels{productKernel(tile, gemm, functor)};
    if (fp8 && role == GemmRole::GateUp) { // down's tokens are quantised by it too
      const QuantiseConfig quantise = quantiseConfigOf(config.element, joined);
      kernels.push_back(kernelOf(shippedQuantise(quantise), quantise.threads, 0));
    }
    if (!dense)
      addFewTokens(op, tile, gemm, functor, kernels);
    return kernels;
  }

  /// Kernels that the product has for steps of few tokens besides.
  void addFewTokens(moe::LaunchOp op, const CudaTile &tile, const GemmConfig &gemm,
                    const std::optional<Functor> &functor, std::vector<LaunchKernel> &kernels) const {
    const auto padded = [](std::optional<uint64_t> size) { return paddedForCuda(static_cast<uint32_t>(*size)); };
    uint32_t intermediate = padded(op.getK()), hidden = padded(op.getColumns());
    if (gemm.role == GemmRole::GateUp)
      std::swap(intermediate, hidden);
    if (hasQuantisingForm(gemm.role, static_cast<uint64_t>(topK), shared, intermediate, hidden, config.gateUp,
                          config.down))
      kernels.push_back(productKernel(tile, quantising(gemm), functor));
    if (std::optional<LaunchKernel> few = fewKernel(gemm, intermediate, hidden, functor))
      kernels.push_back(std::move(*few));
  }

  /// What takes a product's place in steps of few tokens, where the layer has it. `functor`: gate-up's activation.
  std::optional<LaunchKernel> fewKernel(const GemmConfig &gemm, uint32_t intermediate, uint32_t hidden,
                                        const std::optional<Functor> &functor) const {
    const auto experts = static_cast<uint64_t>(topK);
    const GemmFamily family = config.down.family;
    if (gemm.role == GemmRole::GateUp &&
        hasGateUpFew(experts, shared, intermediate, hidden, config.gateUp, config.down))
      return gateUpFewKernel(*functor);
    if (gemm.role == GemmRole::Down && hasDownFew(experts, shared, intermediate, hidden, config.gateUp.family, family))
      return downFewKernel(family, gemm.biased, hidden);
    return std::nullopt;
  }

  LaunchKernel gateUpFewKernel(const Functor &functor) const {
    ShippedKernel kernel = shippedGateUpFewFp8();
    kernel.unit.kernels = {gateUpFewFp8Kernel({element()}, functor.name)};
    kernel.unit.functors = {functor};
    return kernelOf(std::move(kernel), kGateUpFewThreads, kGateUpFewMostSharedBytes);
  }

  LaunchKernel downFewKernel(GemmFamily family, bool biased, uint32_t hidden) const {
    const auto experts = static_cast<uint32_t>(topK);
    return kernelOf(family == GemmFamily::Fp8 ? shippedDownFewFp8(experts, downFewFp8Groups(experts, hidden))
                                              : shippedDownFew({element(), experts, biased}),
                    kDownFewThreads, downFewMostSharedBytes(family));
  }

  /// `functor`: gate-up's activation.
  LaunchKernel productKernel(const CudaTile &tile, const GemmConfig &gemm,
                             const std::optional<Functor> &functor) const {
    ShippedKernel kernel = shippedGemm(tile.family, gemm);
    if (functor) {
      kernel.unit.kernels = {gemmKernel(tile.family, gemm, functor->name)};
      kernel.unit.functors = {*functor};
    }
    return kernelOf(std::move(kernel), gemmThreads(tile.family, gemm), gemmSharedBytes(tile.family, gemm),
                    {.rows = tile.tokens, .symbol = "", .columns = tile.weights});
  }

  Result<std::vector<LaunchKernel>> store() {
    CombineConfig combine = combineConfigOf(element(), static_cast<uint32_t>(topK));
    combine.weighted = !weightOnInput;
    return std::vector{kernelOf(shippedCombine(combine), combine.threads, 0)};
  }

  const CudaConfig &config;
  const std::string &arch;    // of the cubins, e.g. "sm_90a"
  const bool shared;          // (downCombines())
  int64_t topK = 0;           // as the dispatch, which comes before the products and the store, says
  bool weightOnInput = false; // as gate-up says
  bool joined = false;        // a shared expert to the routed ones, as the dispatch says
};

/// The config that all GEMM launches of a layer carry.
CudaConfig configOf(func::FuncOp layer) {
  for (auto op : layer.getOps<moe::LaunchOp>())
    if (op.getConfig())
      return passes::fromAttribute(*op.getConfig()).cuda;
  return {};
}

} // namespace

Result<CudaLayerCode> cudaCodeOf(func::FuncOp layer, const std::string &arch) {
  CudaLayerCode code;
  const CudaConfig config = configOf(layer);
  const bool shared = llvm::any_of(layer.getOps<moe::LaunchOp>(), [](moe::LaunchOp op) {
    return op.getKind() == moe::LaunchKind::SharedDown || op.getJoined();
  });
  LayerKernels kernels(config, arch, shared);
  for (auto op : layer.getOps<moe::LaunchOp>()) {
    Launch launch;
    launch.kind = static_cast<LaunchKind>(op.getKind());
    launch.k = static_cast<uint32_t>(op.getK().value_or(0));
    launch.columns = static_cast<uint32_t>(op.getColumns().value_or(0));
    Result<std::vector<LaunchKernel>> used = kernels.of(op);
    if (!used)
      return used.status().withContext("launch {}", launchName(launch.kind));
    code.launches.push_back(std::move(launch));
    code.kernels.push_back(std::move(*used));
  }
  return code;
}

} // namespace moec::codegen
