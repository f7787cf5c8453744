#include "runtime/device/cpu/CpuDevice.h"

#include "runtime/ForwardLog.h"
#include "runtime/HostRunner.h"
#include "runtime/device/cpu/Calibrate.h"
#include "runtime/device/cpu/MachineFacts.h"
#include "runtime/device/cpu/Validate.h"

#include <algorithm>
#include <chrono>

namespace moec {
namespace {

const CpuLayer &own(const DeviceLayer &layer) { return static_cast<const CpuLayer &>(layer); }

std::shared_ptr<const LayerKernels> own(std::shared_ptr<const LoadedKernels> kernels) {
  return std::static_pointer_cast<const LayerKernels>(std::move(kernels));
}

/// Host memory is the device's.
struct CpuBridge final : HostBridge {
  Result<void *> onDevice(unsigned, void *from, uint64_t, bool) override { return from; }
  Status toHost(unsigned, void *, uint64_t) override { return {}; }
};

} // namespace

Result<std::unique_ptr<HostBridge>> CpuDevice::bridge() {
  return std::unique_ptr<HostBridge>(std::make_unique<CpuBridge>());
}

Result<std::unique_ptr<Device>> CpuDevice::open(const SessionOptions &options, ForwardLog &log) {
  if (!options.imageLoader)
    return makeError(Code::InvalidArgument, "imageLoader is empty");
  Result<TargetFacts> facts = runnableTarget(options.device, options.threads);
  if (!facts)
    return facts.status();
  return std::unique_ptr<Device>(new CpuDevice(options, log, *facts));
}

uint64_t CpuDevice::packedLayerBytes(const LayerShape &shape) const {
  return packedExpertBytes(shape, target) * shape.experts;
}

Status CpuDevice::prepare(const std::vector<const LayerDescription *> &layers,
                          std::shared_ptr<const WeightSource> weights, std::function<void(uint32_t)>) {
  pool = std::make_unique<ThreadPool>(ThreadPool::Options{target.threads, options.maxSteps, options.spinMicroseconds});
  std::vector<LayerShape> shapes;
  for (const LayerDescription *layer : layers)
    shapes.push_back(layer->shape);
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
  Lock lock(building);
  validation = std::move(*space);
  for (const LayerDescription *layer : layers)
    stores[layer->layer] = std::make_unique<ExpertStore>(layer->shape, layer->weights, weights);
  return {};
}

std::string CpuDevice::calibrationKey(const LayerShape &shape, const std::string &buildId) const {
  return moec::calibrationKey(target, computeDType(shape), buildId);
}

Result<Calibration> CpuDevice::calibrate(const LayerDescription &layer, const ObtainKernels &obtain) {
  // Every other height from the tallest down: the rest is interpolated, and compiles count.
  CpuConfig config{target.isa, computeDType(layer.shape), {}};
  for (int rows = static_cast<int>(target.maxTileRows()); rows > 0; rows -= 2)
    config.tileRows.push_back(static_cast<uint16_t>(rows));
  if (config.tileRows.back() != 1)
    config.tileRows.push_back(1);
  Result<std::vector<std::shared_ptr<const LoadedKernels>>> kernels = obtain(layer.layer, {config});
  if (!kernels)
    return kernels.status();
  return moec::calibrate(*own(kernels->front()), target, *pool);
}

Status CpuDevice::checkConfig(const LayerShape &shape, const LayerConfig &config) const {
  if (config.device != DeviceKind::Cpu || config.cpu.isa != target.isa || config.cpu.compute != computeDType(shape))
    return makeError(Code::InvalidArgument, "its config is for another target or dtype");
  return {};
}

Result<std::shared_ptr<const KernelImage>> CpuDevice::image(const Image &image) {
  if (auto loaded = images[image.key].lock(); loaded && !image.key.empty())
    return loaded;
  auto loaded = options.imageLoader(image);
  if (loaded && !image.key.empty())
    images[image.key] = *loaded;
  return loaded;
}

Result<std::shared_ptr<const LoadedKernels>> CpuDevice::load(const Package &package, const LayerPackage &layer,
                                                             const Calibration &calibration) {
  if (layer.image >= package.images.size())
    return makeError(Code::InvalidModel, "layer {}: image {} of {}", layer.layer, layer.image, package.images.size());
  Lock lock(building);
  auto loaded = image(package.images[layer.image]);
  if (!loaded)
    return loaded.status().withContext("layer {}", layer.layer);
  auto bound = bindKernels(layer, target, calibration, *loaded);
  if (!bound)
    return bound.status();
  return std::shared_ptr<const LoadedKernels>(*bound);
}

Result<std::shared_ptr<const DeviceLayer>> CpuDevice::make(LayerOrder order, const std::function<bool()> &cancelled) {
  Lock lock(building);
  auto layer = std::make_shared<CpuLayer>();
  layer->number = order.description->layer;
  layer->shape = order.description->shape;
  layer->router = order.description->router;
  layer->plan = std::move(order.plan);
  layer->plannedFor = std::move(order.plannedFor);
  layer->kernels = own(std::move(order.kernels));
  if (order.generic) {
    layer->generic = own(*order.generic).kernels;
    layer->common = own(*order.generic).common;
    // One thread: the step threads keep their cores.
    ThreadPool alone({.threads = 1});
    if (Status status = packExperts(*layer, alone, cancelled); !status.ok())
      return status;
    return std::shared_ptr<const DeviceLayer>(std::move(layer));
  }
  layer->generic = layer->kernels;
  auto common = stores[layer->number]->common(layer->router, *layer->kernels);
  if (!common)
    return common.status().withContext("layer {}", layer->number);
  layer->common = *common;
  if (Status status = packExperts(*layer, *pool, cancelled); !status.ok())
    return status;
  if (layer->kernels->router) {
    auto routeOnly = std::make_shared<LayerKernels>(*layer->kernels);
    routeOnly->launches = {LaunchKind::Router, LaunchKind::Route};
    CpuLayer router = *layer;
    router.kernels = std::move(routeOnly);
    router.experts.clear();
    routers.emplace(router.number, std::move(router));
  }
  return std::shared_ptr<const DeviceLayer>(std::move(layer));
}

Status CpuDevice::packExperts(CpuLayer &layer, ThreadPool &threads, const std::function<bool()> &cancelled) {
  ExpertStore &store = *stores[layer.number];
  std::vector<ExpertWeights> experts(layer.shape.experts);
  std::vector<Status> failures(layer.shape.experts);
  const auto &packed = layer.plan.table.packed;
  threads.parallelFor(layer.shape.experts, [&](uint32_t e, unsigned) {
    if (cancelled && cancelled()) {
      failures[e] = makeError(Code::Cancelled, "packing was cancelled");
    } else if (packed[e]) {
      auto made = store.packed(e, *layer.kernels);
      made ? void(experts[e].packed = *made) : void(failures[e] = made.status());
    } else {
      auto made = store.stored(e, layer.kernels->config.compute);
      made ? void(experts[e].stored = *made) : void(failures[e] = made.status());
    }
  });
  for (uint32_t e = 0; e < layer.shape.experts; ++e)
    if (!failures[e].ok())
      return failures[e].withContext("layer {}, expert {}", layer.number, e);
  layer.experts = std::move(experts);
  return {};
}

Result<double> CpuDevice::validate(const DeviceLayer &candidate, const DeviceLayer &reference) {
  Lock lock(building);
  return validateLayer(own(candidate), own(reference), validation, options.maxTokens);
}

Status CpuDevice::route(const RouteRequest &request) {
  auto found = routers.find(request.layer.number);
  if (found == routers.end())
    return makeError(Code::InvalidArgument, "layer {} has no router", request.layer.number);
  const CpuLayer &layer = found->second;
  Workspace &space = workspaces[request.slot];
  ForwardCounts counts;
  Status status =
      LayerExecutor(layer, space, *pool, workerScratch.ofWorker).run(request.hidden, {}, {}, options.nonFinite, counts);
  log.addNonFinite(counts.nonFiniteLogits);
  if (!status.ok())
    return status;
  const uint64_t pairs = request.hidden.rows * uint64_t{layer.shape.topK};
  std::copy_n(space.ids, pairs, request.ids);
  std::copy_n(space.weights, pairs, request.weights);
  return {};
}

Status CpuDevice::forward(const ForwardRequest &request) {
  using Clock = std::chrono::steady_clock;
  const CpuLayer &layer = own(request.layer);
  Workspace &space = workspaces[request.slot];
  ForwardCounts counts;
  std::optional<RoutingView> view;
  if (request.routing)
    view = *request.routing;
  const auto start = Clock::now();
  Status status = LayerExecutor(layer, space, *pool, workerScratch.ofWorker)
                      .run(request.hidden, view, request.output, options.nonFinite, counts);
  const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start);
  log.addNonFinite(counts.nonFiniteLogits);
  if (!status.ok())
    return status;
  log.add({layer.number, static_cast<uint32_t>(request.hidden.rows), request.phase,
           std::span<const uint32_t>(space.pairs, layer.shape.experts), static_cast<uint64_t>(spent.count()),
           counts.spilledPairs, request.generation});
  return {};
}

} // namespace moec
