// Opening a session: everything up to generation 0.
#include "runtime/SessionState.h"

#include "runtime/Validate.h"
#include "runtime/device/cpu/Calibrate.h"
#include "runtime/device/cpu/MachineFacts.h"

#include <algorithm>
#include <chrono>

namespace moec {

SessionState::SessionState(std::shared_ptr<const Model> model, SessionOptions options)
    : options(std::move(options)), model(std::move(model)) {}

Status SessionState::open() {
  if (Status status = checkOptions(); !status.ok())
    return status;
  Result<TargetFacts> facts = runnableTarget(options.device, options.threads);
  if (!facts)
    return facts.status();
  target = *facts;
  if (Status status = chooseLayers(); !status.ok())
    return status;
  if (Status status = openWeightSource(); !status.ok())
    return status.withContext("weights");
  pool = std::make_unique<ThreadPool>(ThreadPool::Options{target.threads, options.maxSteps, options.spinMicroseconds});
  if (Status status = makeBuffers(); !status.ok())
    return status;
  Lock lock(buildMutex);
  kernels = std::make_unique<KernelLibrary>(
      KernelLibrary::Context{model, target, options.limits, options.plannedTokens, options.imageLoader});
  for (uint32_t number : layerNumbers) {
    const LayerDescription &layer = *model->find(number);
    stores[number] = std::make_unique<ExpertStore>(layer.shape, layer.weights, options.weightSource);
  }
  if (Status status = obtainCalibration(); !status.ok())
    return status.withContext("calibration");
  kernels->setCalibration(measured);
  return buildGeneric();
}

Status SessionState::checkOptions() {
  constexpr uint32_t maxTokens = 1u << 20, maxSteps = 1u << 10, maxThreads = 1u << 10;
  auto range = [](const char *name, uint32_t value, uint32_t least, uint32_t most) {
    return value >= least && value <= most
               ? Status()
               : makeError(Code::InvalidArgument, "{} is {}, it must be {} to {}", name, value, least, most);
  };
  for (const Status &status :
       {range("maxTokens", options.maxTokens, 1, maxTokens), range("maxSteps", options.maxSteps, 1, maxSteps),
        range("threads", options.threads, 0, maxThreads), range("plannedTokens", options.plannedTokens, 1, maxTokens)})
    if (!status.ok())
      return status;
  if (!options.imageLoader)
    return makeError(Code::InvalidArgument, "imageLoader is empty");
  return {};
}

Status SessionState::chooseLayers() {
  layerNumbers = options.layers;
  if (layerNumbers.empty())
    for (const LayerDescription &layer : model->layers())
      layerNumbers.push_back(layer.layer);
  std::sort(layerNumbers.begin(), layerNumbers.end());
  layerNumbers.erase(std::unique(layerNumbers.begin(), layerNumbers.end()), layerNumbers.end());
  uint64_t allBytes = 0;
  for (uint32_t number : layerNumbers) {
    const LayerDescription *layer = model->find(number);
    if (!layer)
      return makeError(Code::InvalidArgument, "the model has no MoE layer {}", number);
    packBytes[number] = packedExpertBytes(layer->shape, target) * layer->shape.experts;
    allBytes += packBytes[number];
  }
  for (auto &[number, bytes] : packBytes)
    bytes = options.packBudget.ofLayer(bytes, allBytes);
  return {};
}

Status SessionState::openWeightSource() {
  if (options.weightSource)
    return {};
  const std::string spec = options.weights.empty() ? model->folder() : options.weights;
  if (spec.empty())
    return makeError(Code::InvalidArgument, "the model came without a folder: say where its weights are");
  Result<std::unique_ptr<WeightSource>> opened = openWeights(spec);
  if (!opened)
    return opened.status();
  options.weightSource = std::move(*opened);
  return {};
}

Status SessionState::makeBuffers() {
  std::vector<LayerShape> shapes;
  for (uint32_t number : layerNumbers)
    shapes.push_back(model->find(number)->shape);
  const WorkspaceNeeds needs = WorkspaceNeeds::of(shapes, options.maxTokens, pool->threads(), target);
  for (uint32_t i = 0; i < options.maxSteps; ++i) {
    Result<Workspace> space = Workspace::make(needs);
    if (!space)
      return space.status();
    workspaces.push_back(std::move(*space));
  }
  Result<WorkerScratch> scratch = WorkerScratch::make(needs, pool->threads() - 1);
  if (!scratch)
    return scratch.status();
  workerScratch = std::move(*scratch);
  const uint32_t validationTokens = std::min(options.maxTokens, kValidationTokens);
  Result<Workspace> space = Workspace::make(WorkspaceNeeds::of(shapes, validationTokens, 1, target));
  if (!space)
    return space.status();
  Lock lock(buildMutex);
  validation = std::move(*space);
  return {};
}

Status SessionState::obtainCalibration() {
  const DType compute = computeDType(model->find(layerNumbers.front())->shape);
  measured = options.calibration ? *options.calibration : Calibration::assumed(target, compute);
  CacheStore *cache = model->compiler()->cache();
  if (options.calibration || options.calibrationSource == CalibrationSource::Assumed)
    return {};
  const std::string key = calibrationKey(target, compute, model->compiler()->buildId());
  if (options.calibrationSource == CalibrationSource::Once) {
    if (!cache)
      return {};
    if (auto bytes = cache->find("calibration", key))
      if (auto found = Calibration::fromJson(std::string(bytes->begin(), bytes->end()))) {
        measured = *found;
        return {};
      }
    if (options.mode == Mode::Strict)
      return {};
  }
  return measureCalibration(key);
}

Status SessionState::measureCalibration(const std::string &key) {
  // One layer's kernels, every other height from the tallest down: the rest is interpolated, and compiles count.
  const uint32_t layer = layerNumbers.front();
  CpuConfig config{target.isa, computeDType(model->find(layer)->shape), {}};
  for (int rows = static_cast<int>(target.maxTileRows()); rows > 0; rows -= 2)
    config.tileRows.push_back(static_cast<uint16_t>(rows));
  if (config.tileRows.back() != 1)
    config.tileRows.push_back(1);
  kernels->setCalibration(measured);
  BuildReport report;
  if (Status status = kernels->require({{layer, config}}, compilePolicy(), {}, report); !status.ok())
    return status;
  Result<Calibration> found = calibrate(*kernels->find(layer, config), target, *pool);
  if (!found)
    return found.status();
  measured = *found;
  if (CacheStore *cache = model->compiler()->cache()) {
    const std::string text = measured.toJson();
    // Not being able to keep it only means measuring again.
    (void)cache->put("calibration", key, {reinterpret_cast<const uint8_t *>(text.data()), text.size()}).ok();
  }
  return {};
}

std::map<uint32_t, LayerPlan> SessionState::genericPlans() const {
  std::map<uint32_t, LayerPlan> plans;
  for (uint32_t number : layerNumbers)
    plans[number] =
        planGenericLayer(model->find(number)->shape, options.plannedTokens, target, measured, limitsOf(number));
  // A package brings its own generation 0: what it was compiled for, without a compiler.
  if (model->package() && model->package()->target.device == target.device && model->package()->target.isa == target.isa)
    for (const LayerPackage &layer : model->package()->layers)
      if (auto plan = plans.find(layer.layer); plan != plans.end())
        plan->second = planTable(layer.shape, layer.plannedFor, target, measured, limitsOf(layer.layer),
                                 layer.plan.config);
  return plans;
}

Status SessionState::buildGeneric() {
  std::map<uint32_t, LayerPlan> plans = genericPlans();
  std::map<uint32_t, CpuConfig> configs;
  for (const auto &[number, plan] : plans)
    configs[number] = plan.config.cpu;
  if (Status status = kernels->require(configs, compilePolicy(), {}, openReport); !status.ok())
    return status;
  const auto start = std::chrono::steady_clock::now();
  auto generation = std::make_unique<Generation>();
  for (auto &[number, plan] : plans) {
    const LayerDescription &described = *model->find(number);
    if (Status status = checkPlan(number, plan); !status.ok())
      return status;
    auto layer = std::make_shared<CpuLayer>();
    layer->number = number;
    layer->shape = described.shape;
    layer->router = described.router;
    layer->plannedFor = Histogram::uniform(options.plannedTokens, described.shape.topK, described.shape.experts);
    layer->kernels = layer->generic = kernels->find(number, plan.config.cpu);
    layer->plan = std::move(plan);
    auto common = stores[number]->common(layer->router, *layer->kernels);
    if (!common)
      return common.status().withContext("layer {}", number);
    layer->common = *common;
    if (Status status = packExperts(*layer, *pool, {}); !status.ok())
      return status;
    openReport.packedBytes += layer->packedBytes();
    generation->layers.push_back(std::move(layer));
  }
  openReport.packMs = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  generations = std::make_unique<GenerationSet>(std::move(generation), options.maxSteps);
  return {};
}

} // namespace moec
