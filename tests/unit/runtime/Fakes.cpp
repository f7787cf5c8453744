#include "tests/unit/runtime/Fakes.h"

#include "compiler/core/Keys.h"
#include "runtime/weights/Convert.h"
#include "runtime/weights/PartRequest.h"
#include "runtime/weights/QuantiseE4M3.h"
#include "tests/unit/Catch.h"
#include "tests/unit/runtime/FakeKernels.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include <unistd.h>

namespace moec::test {
namespace {

float madeUp(uint64_t seed) {
  seed = (seed ^ (seed >> 30)) * 0xbf58476d1ce4e5b9u;
  seed = (seed ^ (seed >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>(static_cast<int64_t>(seed ^ (seed >> 31)) >> 40) * 0x1p-23f;
}

uint64_t hashOf(const std::string &text) {
  uint64_t hash = 1469598103934665603u;
  for (unsigned char c : text)
    hash = (hash ^ c) * 1099511628211u;
  return hash;
}

std::string partName(const WeightRef &ref, uint32_t expert) {
  return fmt::format("{}#{}", ref.name, isPerExpert(ref) ? expert : 0);
}

Launch gemm(LaunchKind kind, FakeSpec::Kind fake, uint32_t k, uint32_t columns, const TargetFacts &facts,
            const CpuConfig &config, const FakeCompiler &compiler, Image &image, bool biased, bool weighted) {
  Launch launch{kind, k, columns, {}, {}};
  FakeSpec spec{fake, 0, k, facts.lanes(), config.compute, config.rowDType(), biased, weighted, false};
  for (uint16_t rows : config.tileRows) {
    spec.rows = rows;
    spec.wrong = rows == compiler.wrongHeight;
    launch.kernels.push_back({rows, fmt::format("{}_{}", launchName(kind), rows)});
    addSymbol(image, launch.kernels.back().symbol, spec);
  }
  launch.pack = {0, fmt::format("{}_pack", launchName(kind))};
  spec.kind = FakeSpec::Pack;
  addSymbol(image, launch.pack.symbol, spec);
  return launch;
}

LayerPackage compileLayer(const LayerDescription &described, const CompileRequest &request,
                          const FakeCompiler &compiler, Image &image) {
  const LayerShape &shape = described.shape;
  LayerPackage layer{described.layer, shape, described.router, described.weights, {}, {}, {}, 0};
  layer.plannedFor = request.profile.of(described.layer, shape.topK, shape.experts);
  auto decided = request.plans.find(described.layer);
  layer.plan = decided != request.plans.end()
                   ? decided->second
                   : planLayer(shape, layer.plannedFor, request.target, request.calibration, request.limits);
  auto add = [&](LaunchKind kind, FakeSpec::Kind fake, uint32_t k, uint32_t columns, bool biased = false,
                 bool weighted = false) {
    layer.launches.push_back(
        gemm(kind, fake, k, columns, request.target, layer.plan.config.cpu, compiler, image, biased, weighted));
  };
  add(LaunchKind::Router, FakeSpec::Router, shape.hidden, shape.experts);
  layer.launches.push_back({LaunchKind::Route, 0, 0, {}, {}});
  layer.launches.push_back({LaunchKind::Dispatch, 0, 0, {}, {}});
  add(LaunchKind::GateUp, FakeSpec::GateUp, shape.hidden, shape.intermediate, shape.expertBias, shape.weightOnInput);
  if (shape.sharedIntermediate) {
    add(LaunchKind::SharedGateUp, FakeSpec::GateUp, shape.hidden, shape.sharedIntermediate);
    add(LaunchKind::SharedDown, FakeSpec::Down, shape.sharedIntermediate, shape.hidden);
  }
  add(LaunchKind::Down, FakeSpec::Down, shape.intermediate, shape.hidden, shape.expertBias);
  if (!compiler.dropStore)
    layer.launches.push_back({LaunchKind::Store, 0, 0, {}, {}});
  image.key = fmt::format("{} {} H{} I{} wrong={}", layer.plan.config.text(), described.layer, shape.hidden,
                          shape.intermediate, compiler.wrongHeight);
  return layer;
}

Result<std::vector<uint8_t>> compile(FakeCompiler &compiler, const std::string &text,
                                     const MoecCompilerCallbacks &callbacks) {
  ++compiler.compiles;
  Result<CompileRequest> request = CompileRequest::fromJson(text);
  if (!request)
    return request.status();
  Result<ModelDescription> model = ModelDescription::fromJson(request->model);
  if (!model)
    return model.status();
  std::this_thread::sleep_for(std::chrono::milliseconds(compiler.delayMs));
  if (callbacks.cancelled(callbacks.user))
    return makeError(Code::Cancelled, "cancelled");
  Package package;
  package.modelName = model->name;
  package.modelText = request->model;
  package.requestKey = "fake";
  package.target = request->target;
  for (const LayerDescription &layer : model->layers) {
    if (!request->layers.empty() &&
        std::find(request->layers.begin(), request->layers.end(), layer.layer) == request->layers.end())
      continue;
    Image image;
    package.layers.push_back(compileLayer(layer, *request, compiler, image));
    package.layers.back().image = static_cast<uint32_t>(package.images.size());
    package.images.push_back(std::move(image));
    package.kernelsBuilt += 1;
  }
  return package.serialise();
}

} // namespace

LayerDescription describeLayer(uint32_t number, LayerShape shape, RouterSpec router) {
  const int64_t E = shape.experts, H = shape.hidden, I = shape.intermediate, S = shape.sharedIntermediate;
  auto ref = [&](const char *name, std::vector<int64_t> dims, bool f32 = false) {
    return WeightRef{fmt::format("layers.{}.{}", number, name), std::move(dims), f32 ? DType::F32 : shape.dtype};
  };
  LayerDescription layer{number, shape, router, {}};
  layer.weights.router = ref("router", {E, H});
  if (router.routerBias)
    layer.weights.routerBias = ref("router_bias", {E}, true);
  if (router.correctionBias)
    layer.weights.correctionBias = ref("correction", {E}, true);
  layer.weights.gate = ref("experts.{e}.gate", {E, I, H});
  layer.weights.up = ref("experts.{e}.up", {E, I, H});
  layer.weights.down = ref("experts.{e}.down", {E, H, I});
  if (shape.expertBias) {
    layer.weights.gateBias = ref("experts.{e}.gate_bias", {E, I});
    layer.weights.upBias = ref("experts.{e}.up_bias", {E, I});
    layer.weights.downBias = ref("experts.{e}.down_bias", {E, H});
  }
  if (S) {
    layer.weights.sharedGate = ref("shared.gate", {S, H});
    layer.weights.sharedUp = ref("shared.up", {S, H});
    layer.weights.sharedDown = ref("shared.down", {H, S});
  }
  if (shape.sharedGate)
    layer.weights.sharedRouter = ref("shared.router", {1, H});
  return layer;
}

std::vector<float> MadeUpWeights::plainValues(const WeightRef &ref, uint32_t expert) const {
  std::vector<float> values(*numPartElements(ref));
  const uint64_t base = hashOf(partName(ref, expert)) + seed;
  for (uint64_t i = 0; i < values.size(); ++i)
    values[i] = 0.5f * madeUp(base + i * 0x9e3779b97f4a7c15u);
  std::vector<std::byte> rounded(values.size() * byteSize(ref.dtype));
  convert(values.data(), DType::F32, rounded.data(), ref.dtype, values.size());
  convert(rounded.data(), ref.dtype, values.data(), DType::F32, values.size());
  return values;
}

std::vector<float> MadeUpWeights::values(const WeightRef &ref, uint32_t expert) const {
  std::vector<float> values = plainValues(ref, expert);
  if (ref.format == WeightFormat::BlockE4M3)
    roundThroughE4M3(values, static_cast<uint64_t>(ref.shape.back()));
  return values;
}

const void *MadeUpWeights::view(const WeightRef &ref, uint32_t expert, DType want) const {
  if (want != ref.dtype || expert % 2 == 1 || ref.format != WeightFormat::Plain)
    return nullptr;
  Lock lock(mutex);
  std::vector<std::byte> &bytes = views[partName(ref, expert)];
  if (bytes.empty()) {
    std::vector<float> from = values(ref, expert);
    bytes.resize(from.size() * byteSize(want));
    convert(from.data(), DType::F32, bytes.data(), want, from.size());
  }
  return bytes.data();
}

Status MadeUpWeights::read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const {
  std::vector<float> from = values(ref, expert);
  if (to.size() != from.size() * byteSize(want))
    return makeError(Code::InvalidArgument, "{}: {} bytes for {} elements", ref.name, to.size(), from.size());
  convert(from.data(), DType::F32, to.data(), want, from.size());
  return {};
}

Status MadeUpWeights::readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                                    std::span<float> scales) const {
  Result<BlockGrid> grid = checkBlockPart(ref, expert, elements.size(), scales.size());
  if (!grid)
    return grid.status();
  const std::vector<float> from = plainValues(ref, expert);
  const RowReader readRows = [&](uint64_t first, std::span<float> to) {
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(first * grid->columns), to.size(), to.begin());
    return Status();
  };
  return quantiseE4M3(*grid, readRows, elements, scales);
}

CompilerCall FakeCompiler::call() {
  return [this](const char *verb, std::span<const uint8_t> request,
                const MoecCompilerCallbacks &callbacks) -> Result<std::vector<uint8_t>> {
    std::string text(request.begin(), request.end());
    if (std::string(verb) == "compile")
      return compile(*this, text, callbacks);
    ++others;
    // A fake model description is its own description; a fake config.json is one too.
    auto json = nlohmann::json::parse(text, nullptr, false);
    std::string answer = json[std::string(verb) == "import" ? "config" : "model"].get<std::string>();
    return std::vector<uint8_t>(answer.begin(), answer.end());
  };
}

std::shared_ptr<const Model> makeModel(FakeCompiler &compiler, std::vector<LayerDescription> layers,
                                       std::shared_ptr<CacheStore> cache) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/model.mlir";
  std::ofstream(path) << ModelDescription{"fake", std::move(layers)}.toJson();
  Compiler::Options options;
  options.call = compiler.call();
  options.cache = std::move(cache);
  options.buildId = "test";
  auto model = Model::load(path, {.compiler = std::make_shared<Compiler>(std::move(options))});
  INFO(model.status().message());
  REQUIRE(model.ok());
  return *model;
}

SessionOptions fakeOptions(std::shared_ptr<const WeightSource> weights) {
  SessionOptions options;
  options.device = "cpu-avx2";
  options.maxTokens = 64;
  options.threads = 2;
  options.weightSource = std::move(weights);
  options.calibrationSource = CalibrationSource::Assumed;
  options.imageLoader = loadFake;
  options.spinMicroseconds = 5;
  return options;
}

TemporaryFolder::TemporaryFolder() {
  static std::atomic<int> number{0};
  folder = (std::filesystem::temp_directory_path() / fmt::format("moec-test-{}-{}", getpid(), number++)).string();
  std::filesystem::create_directories(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
}

TemporaryFolder::~TemporaryFolder() { std::filesystem::remove_all(folder); }

} // namespace moec::test
