#include "tests/unit/cuda/CudaBench.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"
#include "compiler/core/PlanCuda.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>

namespace moec::test {
namespace {

class PackageMaker {
public:
  PackageMaker(const CompileRequest &request, const CudaCompiler &compiler, bool wrong)
      : request(request), compiler(compiler), wrong(wrong) {
    package.target = request.target;
    package.modelText = request.model;
    package.requestKey = "fake";
  }

  Package make(const ModelDescription &model) {
    for (const LayerDescription &layer : model.layers)
      if (auto plan = request.plans.find(layer.layer); plan != request.plans.end())
        add(layer, plan->second);
    package.kernelsBuilt = static_cast<uint32_t>(package.images.size());
    if (compiler.spoil)
      compiler.spoil(package);
    return std::move(package);
  }

private:
  KernelRef kernel(const std::string &symbol, uint32_t threads, uint32_t sharedBytes = 0) {
    Image image;
    image.key = fmt::format("{} {} {}", symbol, threads, sharedBytes);
    const std::string code = "cubin of " + symbol;
    image.bytes.assign(code.begin(), code.end());
    image.resources.threads = threads;
    image.resources.dynamicSharedBytes = sharedBytes;
    package.images.push_back(std::move(image));
    KernelRef ref;
    ref.symbol = symbol;
    ref.image = static_cast<uint32_t>(package.images.size() - 1);
    return ref;
  }

  Launch gemm(LaunchKind kind, const LayerShape &shape, const CudaTile &tile, GemmRole role, bool dense) {
    const uint32_t inner = dense ? shape.sharedIntermediate : shape.intermediate;
    const GemmConfig config = gemmConfigOf(tile, DType::BF16, role, dense);
    const uint32_t threads = gemmThreads(tile.family, config);
    Launch launch{kind,
                  role == GemmRole::GateUp ? shape.hidden : inner,
                  role == GemmRole::GateUp ? inner : shape.hidden,
                  {kernel(fmt::format("{}:{}", launchName(kind), tile.text()), threads, sharedBytes(tile))},
                  {}};
    if (tile.family == GemmFamily::Fp8 && role == GemmRole::GateUp)
      launch.kernels.push_back(kernel("quantise", 256));
    if (!dense && hasQuantisingForm(role, shape, planned.gateUp, planned.down))
      launch.kernels.push_back(
          kernel(fmt::format("{}:{}:few", launchName(kind), tile.text()), threads, sharedBytes(tile)));
    return launch;
  }

  void add(const LayerDescription &described, const LayerPlan &plan) {
    const LayerShape &shape = described.shape;
    const CudaConfig &config = plan.config.cuda;
    planned = config;
    LayerPackage layer;
    layer.layer = described.layer;
    layer.shape = shape;
    layer.router = described.router;
    layer.plan = plan;
    layer.plannedFor = request.profile.of(described.layer, shape.topK, shape.experts);
    KernelRef few = kernel("router", 256), many = few;
    few.rows = many.rows = 16, few.columns = many.columns = 8, few.maxTokens = 8, many.maxTokens = UINT32_MAX;
    layer.launches.push_back({LaunchKind::Router, shape.hidden, shape.experts, {few, many}, {}});
    layer.launches.push_back({LaunchKind::Route, 0, 0, {kernel("route", 128)}, {}});
    Launch dispatch{LaunchKind::Dispatch, 0, 0, {}, {}};
    for (const char *form : dispatchSteps(request.target.arch))
      dispatch.kernels.push_back(kernel(fmt::format("dispatch{}:{}", form, shape.experts), 512));
    layer.launches.push_back(dispatch);
    layer.launches.push_back(gemm(LaunchKind::GateUp, shape, config.gateUp, GemmRole::GateUp, false));
    if (hasGateUpFew(shape, config.gateUp, config.down))
      layer.launches.back().kernels.push_back(kernel("gateUpFewFp8", kGateUpFewThreads, kGateUpFewMostSharedBytes));
    if (shape.sharedIntermediate && (compiler.sharedApart || !joinsShared(shape))) {
      layer.launches.push_back(gemm(LaunchKind::SharedGateUp, shape, config.sharedGateUp, GemmRole::GateUp, true));
      layer.launches.push_back(gemm(LaunchKind::SharedDown, shape, config.sharedDown, GemmRole::Down, true));
    }
    layer.launches.push_back(gemm(LaunchKind::Down, shape, config.down, GemmRole::Down, false));
    if (const GemmFamily family = config.down.family; hasDownFew(shape, config.gateUp.family, family))
      layer.launches.back().kernels.push_back(kernel(family == GemmFamily::Fp8 ? "downFewFp8" : "downFew",
                                                     kDownFewThreads, downFewMostSharedBytes(family)));
    if (!compiler.dropStore)
      layer.launches.push_back({LaunchKind::Store, 0, 0, {kernel(wrong ? "wrongCombine" : compiler.combine, 256)}, {}});
    package.layers.push_back(std::move(layer));
  }

  const CompileRequest &request;
  const CudaCompiler &compiler;
  const bool wrong;
  CudaConfig planned; // of this layer
  Package package;
};

} // namespace

CompilerCall CudaCompiler::call() {
  return [this](const char *verb, std::span<const uint8_t> bytes,
                const MoecCompilerCallbacks &) -> Result<std::vector<uint8_t>> {
    std::string text(bytes.begin(), bytes.end());
    if (std::string(verb) != "compile") {
      auto json = nlohmann::json::parse(text, nullptr, false);
      std::string answer = json[std::string(verb) == "import" ? "config" : "model"].get<std::string>();
      return std::vector<uint8_t>(answer.begin(), answer.end());
    }
    Result<CompileRequest> request = CompileRequest::fromJson(text);
    if (!request)
      return request.status();
    Result<ModelDescription> model = ModelDescription::fromJson(request->model);
    if (!model)
      return model.status();
    const auto number = static_cast<uint64_t>(compiles++);
    return PackageMaker(*request, *this, number >= wrongFrom).make(*model).serialise();
  };
}

CudaBench::CudaBench(std::function<void(SessionOptions &)> change, std::vector<LayerDescription> described,
                     std::shared_ptr<CacheStore> cache)
    : layers(std::move(described)) {
  if (layers.empty())
    layers.push_back(
        describeLayer(0, {.hidden = 44, .intermediate = 24, .experts = 6, .topK = 2, .dtype = DType::BF16}));
  TemporaryFolder folder;
  const std::string path = folder.path() + "/model.mlir";
  std::ofstream(path) << ModelDescription{"fake", layers}.toJson();
  Compiler::Options made;
  made.call = compiler.call();
  made.buildId = "test";
  made.cache = std::move(cache);
  auto loaded = Model::load(path, {.compiler = std::make_shared<Compiler>(std::move(made))});
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  model = *loaded;
  options.device = "cuda:0";
  options.maxTokens = 64;
  options.maxGraphTokens = 16;
  options.weightSource = std::make_shared<MadeUpWeights>();
  options.cudaApi = cuda.api();
  if (change)
    change(options);
  hidden.resize(options.maxTokens * layers[0].shape.hidden);
  output.resize(hidden.size());
}

Result<Session> CudaBench::open() { return Session::open(model, options); }

void CudaBench::mustOpen() {
  auto opened = open();
  INFO(opened.status().message());
  REQUIRE(opened.ok());
  session.emplace(std::move(*opened));
}

Status CudaBench::step(CUstream stream, uint32_t tokens, Phase phase) {
  auto step = session->begin({.tokens = tokens, .phase = phase, .stream = stream});
  if (!step)
    return step.status();
  const uint32_t columns = layers[0].shape.hidden;
  return step->layer(layers[0].layer)
      .forward({hidden.data(), DType::BF16, tokens, columns}, {output.data(), DType::BF16, tokens, columns});
}

LayerPlan CudaBench::plan(uint32_t index) {
  LayerPlan plan = session->host().livePlan(layers[0].layer);
  const std::vector<CudaTile> tiles = expertTiles(layers[0].shape, session->host().facts());
  plan.config.cuda.gateUp = plan.config.cuda.down = tiles[index % tiles.size()];
  std::reverse(plan.table.order.begin(), plan.table.order.end());
  return plan;
}

void CudaBench::publish(const std::string &gateUp, const std::string &down, bool asNumbered) {
  LayerPlan plan = session->host().livePlan(layers[0].layer);
  plan.config.cuda.gateUp = *CudaTile::parse(gateUp);
  plan.config.cuda.down = *CudaTile::parse(down);
  std::sort(plan.table.order.begin(), plan.table.order.end());
  if (!asNumbered)
    std::reverse(plan.table.order.begin(), plan.table.order.end());
  auto built = session->host().build({{layers[0].layer, plan}}, {}, {});
  INFO(built.status().message());
  REQUIRE(built.ok());
  REQUIRE(session->host().publish(built->generation).ok());
}

} // namespace moec::test
