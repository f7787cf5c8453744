// Opening a session: everything up to generation 0.
#include "runtime/SessionState.h"

#include "runtime/ProfileRange.h"

#include <algorithm>
#include <chrono>

namespace moec {

SessionState::SessionState(std::shared_ptr<const Model> model, SessionOptions options)
    : options(std::move(options)), model(std::move(model)) {}

SessionState::~SessionState() {
  if (!device)
    return;
  device->close(); // a graph may go on a thread of the driver at any time, and with it a pin of `generations`
  device->finish();
}

Status SessionState::open() {
  if (Status status = checkOptions(); !status.ok())
    return status;
  log.setObserver(options.observer);
  startProfiling();
  Result<std::unique_ptr<Device>> opened = openDevice(options, log);
  if (!opened)
    return opened.status();
  device = std::move(*opened);
  if (Status status = chooseLayers(); !status.ok())
    return status;
  if (Status status = openWeightSource(); !status.ok())
    return status.withContext("weights");
  std::vector<const LayerDescription *> layers;
  for (uint32_t number : layerNumbers)
    layers.push_back(model->find(number));
  auto freeSlot = [this](uint32_t slot) { generations->unpin(slot); };
  if (Status status = device->prepare(layers, options.weightSource, std::move(freeSlot)); !status.ok())
    return status;
  Lock lock(buildMutex);
  kernels = std::make_unique<KernelLibrary>(
      KernelLibrary::Context{model, device->facts(), options.limits, options.plannedTokens}, *device);
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
        range("maxGraphs", options.maxGraphs, 0, maxSteps),
        range("maxGraphTokens", options.maxGraphTokens, 1, maxTokens), range("threads", options.threads, 0, maxThreads),
        range("plannedTokens", options.plannedTokens, 1, maxTokens)})
    if (!status.ok())
      return status;
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
    packBytes[number] = device->packedLayerBytes(layer->shape);
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

Status SessionState::obtainCalibration() {
  const LayerShape &shape = model->find(layerNumbers.front())->shape;
  measured = options.calibration ? *options.calibration : Calibration::assumed(device->facts(), computeDType(shape));
  if (Status status = measured.checkFor(device->facts()); !status.ok())
    return status;
  CacheStore *cache = model->compiler()->cache();
  if (options.calibration || options.calibrationSource == CalibrationSource::Assumed)
    return {};
  const std::string key = device->calibrationKey(shape, model->compiler()->buildId());
  if (options.calibrationSource == CalibrationSource::Once) {
    if (!cache)
      return {};
    if (auto bytes = cache->find("calibration", key))
      if (auto found = Calibration::fromJson(std::string(bytes->begin(), bytes->end()))) {
        measured = *found;
        return {};
      }
    if (options.mode == Mode::Strict || GpuCalibration::fittedToHardware(device->facts()))
      return {};
  }
  return measureCalibration(key);
}

Status SessionState::measureCalibration(const std::string &key) {
  kernels->setCalibration(measured);
  const auto obtain = [this](uint32_t layer, const std::vector<LayerConfig> &configs)
                          MOEC_REQUIRES(buildMutex) -> Result<std::vector<std::shared_ptr<const LoadedKernels>>> {
    if (Status status = kernels->compileAhead(layer, configs, compilePolicy()); !status.ok())
      return status;
    std::vector<std::shared_ptr<const LoadedKernels>> found;
    for (const LayerConfig &config : configs) {
      BuildReport report;
      if (Status status = kernels->require({{layer, config}}, compilePolicy(), {}, report); !status.ok())
        return status;
      found.push_back(kernels->find(layer, config));
    }
    return found;
  };
  Result<Calibration> found = device->calibrate(*model->find(layerNumbers.front()), obtain);
  kernels->forget(); // now, while letting go of a GPU's kernels holds nobody up
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
  const TargetFacts &target = device->facts();
  std::map<uint32_t, LayerPlan> plans;
  for (uint32_t number : layerNumbers)
    plans[number] =
        planGenericLayer(model->find(number)->shape, options.plannedTokens, target, measured, limits(number));
  // A package brings its own generation 0: what it was compiled for, without a compiler.
  if (model->package() && KernelLibrary::runsOn(model->package()->target, target))
    for (const LayerPackage &layer : model->package()->layers)
      if (auto plan = plans.find(layer.layer); plan != plans.end())
        plan->second =
            planTable(layer.shape, layer.plannedFor, target, measured, limits(layer.layer), layer.plan.config);
  return plans;
}

Status SessionState::buildGeneric() {
  std::map<uint32_t, LayerPlan> plans = genericPlans();
  std::map<uint32_t, LayerConfig> configs;
  for (const auto &[number, plan] : plans)
    configs[number] = plan.config;
  if (Status status = kernels->require(configs, compilePolicy(), {}, openReport); !status.ok())
    return status;
  const auto start = std::chrono::steady_clock::now();
  auto generation = std::make_unique<Generation>();
  for (auto &[number, plan] : plans) {
    const LayerDescription &described = *model->find(number);
    if (Status status = checkPlan(number, plan); !status.ok())
      return status;
    auto layer = device->make({&described, plan,
                               Histogram::uniform(options.plannedTokens, described.shape.topK, described.shape.experts),
                               kernels->find(number, plan.config), nullptr},
                              {});
    if (!layer)
      return layer.status();
    openReport.packedBytes += (*layer)->packedBytes();
    generation->layers.push_back(std::move(*layer));
  }
  openReport.packMs = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  BuildReport alone = openReport; // later builds pack on one thread
  alone.packMs *= device->facts().device == DeviceKind::Cpu ? device->facts().threads : 1;
  noteCosts(alone, plans.size(), openReport.packedBytes);
  generations = std::make_unique<GenerationSet>(
      std::move(generation), options.maxSteps + options.maxGraphs,
      [this](std::shared_ptr<const void> unreachable) { device->retire(std::move(unreachable)); });
  return {};
}

} // namespace moec
