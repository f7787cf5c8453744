#include "runtime/device/cuda/CudaDevice.h"

#include "compiler/core/JoinedShared.h"
#include "compiler/core/PlanCuda.h"
#include "runtime/device/cuda/Bridge.h"
#include "runtime/device/cuda/Calibrate.h"
#include "runtime/device/cuda/Facts.h"

#include <algorithm>
#include <chrono>

namespace moec {
namespace {

const CudaLayer &own(const DeviceLayer &layer) { return static_cast<const CudaLayer &>(layer); }

CUstream streamOf(void *stream) { return static_cast<CUstream>(stream); }

} // namespace

//===-- Opening and closing -------------------------------------------------------------------===//

Result<std::unique_ptr<Device>> CudaDevice::open(const SessionOptions &options, ForwardLog &log) {
  if (options.nonFinite == NonFinitePolicy::Fail)
    return makeError(Code::InvalidArgument,
                     "nonFinite: a forward on a GPU is only queued, so it cannot fail for its logits");
  std::shared_ptr<const CudaApi> api = options.cudaApi;
  if (!api) {
    Result<std::shared_ptr<const CudaApi>> loaded = CudaApi::load();
    if (!loaded)
      return loaded.status().withContext("device {}", options.device);
    api = *loaded;
  }
  Result<std::shared_ptr<CudaDriver>> driver = CudaDriver::open(options.device, std::move(api));
  if (!driver)
    return driver.status();
  Result<TargetFacts> facts = cudaFacts(**driver);
  if (!facts)
    return facts.status().withContext("device {}", options.device);
  return std::unique_ptr<Device>(new CudaDevice(options, log, std::move(*driver), *facts));
}

CudaDevice::CudaDevice(const SessionOptions &options, ForwardLog &log, std::shared_ptr<CudaDriver> opened,
                       const TargetFacts &facts)
    : options(options), log(log), driver(std::move(opened)), target(facts), memory(driver, options.allocator),
      slots(options.maxSteps + options.maxGraphs), loader(driver) {}

CudaDevice::~CudaDevice() {
  {
    const std::lock_guard lock(wakeMutex);
    stopping = true;
  }
  wake.notify_all();
  if (watcher.joinable())
    watcher.join();
  close(); // where opening the session failed
  finish();
}

void CudaDevice::close() {
  if (graphSlots)
    graphSlots->close();
}

void CudaDevice::finish() {
  BackgroundScope scope(*driver);
  for (Slot &slot : slots)
    if (slot.used.load(std::memory_order_acquire))
      (void)waitFor(*driver, slot.done.get()); // an error: the device is lost, and nothing runs on it any more
  if (samples)
    samples->drain();
  if (retirement)
    retirement->collect();
}

Status CudaDevice::checkLayer(const LayerDescription &layer) const {
  const LayerShape &shape = layer.shape;
  if (shape.dtype == DType::F32)
    return makeError(Code::InvalidArgument, "layer {}: GPU kernels compute in bf16 and f16, not in f32", layer.layer);
  if (shape.topK > kMostTopK)
    return makeError(Code::InvalidArgument, "layer {}: GPU kernels take at most {} experts per token", layer.layer,
                     kMostTopK);
  if (shape.experts > kMostExperts)
    return makeError(Code::InvalidArgument, "layer {}: GPU kernels take at most {} experts, not {}", layer.layer,
                     kMostExperts, shape.experts);
  if (layer.router.groups > kMostGroups)
    return makeError(Code::InvalidArgument, "layer {}: GPU kernels take at most {} groups of experts, not {}",
                     layer.layer, kMostGroups, layer.router.groups);
  return {};
}

Status CudaDevice::prepare(const std::vector<const LayerDescription *> &layers,
                           std::shared_ptr<const WeightSource> weights, std::function<void(uint32_t)> freeSlot) {
  BackgroundScope scope(*driver);
  MOEC_TRY(scope.status());
  std::vector<LayerShape> shapes;
  uint32_t experts = 0;
  for (const LayerDescription *layer : layers) {
    MOEC_TRY(checkLayer(*layer));
    shapes.push_back(layer->shape);
    layerNumbers.push_back(layer->layer);
    experts = std::max(experts, groupedExperts(layer->shape));
  }
  graphSlots = std::make_shared<GraphSlots>(std::move(freeSlot));
  Result<std::unique_ptr<Retirement>> retired = Retirement::make(driver);
  MOEC_TRY(retired.status());
  retirement = std::move(*retired);

  Lock lock(building);
  source = std::move(weights);
  for (const LayerDescription *layer : layers)
    described[layer->layer] = *layer;
  Result<std::unique_ptr<Uploader>> uploads = Uploader::make(driver);
  MOEC_TRY(uploads.status());
  uploader = std::move(*uploads);
  Result<std::unique_ptr<CudaSamples>> made =
      CudaSamples::make(driver, memory, log, layers, static_cast<uint32_t>(slots.size()), uploader->stream());
  MOEC_TRY(made.status());
  samples = std::move(*made);
  MOEC_TRY(makeSlots(shapes));
  Result<std::unique_ptr<CudaValidator>> validates = CudaValidator::make(
      driver, memory, layers, std::min(options.maxTokens, CudaValidator::maxTokens), siteOn(nullptr));
  MOEC_TRY(validates.status());
  validator = std::move(*validates);
  constexpr uint32_t generationsAtFirst = 8;
  Result<std::shared_ptr<PiecePool>> pool = PiecePool::make(memory, uint64_t{experts} * sizeof(int32_t),
                                                            generationsAtFirst * static_cast<uint32_t>(layers.size()));
  MOEC_TRY(pool.status());
  tables = std::move(*pool);
  watcher = std::thread([this] { watch(); });
  return {};
}

Status CudaDevice::makeSlots(const std::vector<LayerShape> &shapes) {
  for (uint32_t i = 0; i < slots.size(); ++i) {
    const uint32_t tokens = i < options.maxSteps ? options.maxTokens : options.maxGraphTokens;
    Result<CudaWorkspace> space = CudaWorkspace::make(
        *driver, memory, CudaWorkspaceNeeds::of(shapes, tokens, siteOn(nullptr).tensorMaps), uploader->stream());
    MOEC_TRY(space.status());
    slots[i].space = std::move(*space);
    Result<CudaEvent> event = makeEvent(driver, false);
    MOEC_TRY(event.status());
    slots[i].done = std::move(*event);
  }
  return uploader->finish();
}

void CudaDevice::watch() {
  BackgroundScope scope(*driver);
  constexpr auto period = std::chrono::milliseconds(1); // some tens of forwards, which a lane has room for
  std::unique_lock lock(wakeMutex);
  while (!stopping) {
    lock.unlock();
    samples->drain();
    retirement->collect();
    lock.lock();
    wake.wait_for(lock, period, [this] { return stopping; });
  }
}

Result<Calibration> CudaDevice::calibrate(const LayerDescription &layer, const ObtainKernels &obtain) {
  auto obtained = obtain(layer.layer, calibrationConfigs(layer.shape, target));
  MOEC_TRY(obtained.status());
  TileKernels kernels;
  for (auto &loaded : *obtained)
    kernels.push_back(std::static_pointer_cast<const CudaKernels>(std::move(loaded)));
  BackgroundScope scope(*driver);
  MOEC_TRY(scope.status());
  Result<CudaStream> stream = makeStream(driver);
  MOEC_TRY(stream.status());
  Lock lock(building);
  Result<GpuCalibration> gpu =
      calibrateGpu(driver, memory, *uploader, layer.shape, target, kernels, siteOn(stream->get()));
  MOEC_TRY(gpu.status());
  Calibration measured;
  measured.gpu = std::move(*gpu);
  measured.measured = true;
  return measured;
}

//===-- Building ------------------------------------------------------------------------------===//

Status CudaDevice::checkConfig(const LayerShape &shape, const LayerConfig &config) const {
  if (config.device != DeviceKind::Cuda || config.cuda.element != shape.dtype)
    return makeError(Code::InvalidArgument, "its config is for another target or dtype");
  if (config.cuda.gateUp.tokens != config.cuda.down.tokens)
    return makeError(Code::InvalidArgument, "gate-up's tile has {} tokens, down's {}: they share one table of tiles",
                     config.cuda.gateUp.tokens, config.cuda.down.tokens);
  const auto isOf = [](const CudaTile &tile, const std::vector<CudaTile> &known) {
    return std::find(known.begin(), known.end(), tile) != known.end();
  };
  const std::vector<CudaTile> known = expertTiles(shape, target), dense = cudaTiles(target);
  for (const CudaTile *tile : {&config.cuda.gateUp, &config.cuda.down})
    if (!isOf(*tile, known))
      return makeError(Code::InvalidArgument, "{} has no tile {}", target.name, tile->text());
  if (shape.sharedIntermediate == 0 || joinsShared(shape))
    return {};
  for (const CudaTile *tile : {&config.cuda.sharedGateUp, &config.cuda.sharedDown})
    if (!isOf(*tile, dense) || !hasDenseForm(*tile))
      return makeError(Code::InvalidArgument, "{} has no tile {} for shared experts", target.name, tile->text());
  return {};
}

Result<std::shared_ptr<const LoadedKernels>> CudaDevice::load(const Package &package, const LayerPackage &layer,
                                                              const Calibration &) {
  Lock lock(building);
  Result<std::shared_ptr<const CudaKernels>> loaded = loader.load(package, layer);
  if (!loaded)
    return loaded.status();
  return std::shared_ptr<const LoadedKernels>(std::move(*loaded));
}

Result<std::shared_ptr<const DeviceLayer>> CudaDevice::make(LayerOrder order, const std::function<bool()> &cancelled) {
  if (cancelled && cancelled())
    return makeError(Code::Cancelled, "building a layer was cancelled");
  BackgroundScope scope(*driver);
  MOEC_TRY(scope.status());
  Lock lock(building);
  auto layer = std::make_shared<CudaLayer>();
  layer->number = order.description->layer;
  layer->shape = order.description->shape;
  layer->router = order.description->router;
  layer->plan = std::move(order.plan);
  layer->plannedFor = std::move(order.plannedFor);
  layer->kernels = std::static_pointer_cast<const CudaKernels>(std::move(order.kernels));
  std::shared_ptr<const CudaWeights> &uploaded = weights[layer->number];
  if (!uploaded) {
    Result<std::shared_ptr<const CudaWeights>> made =
        uploadWeights(*order.description, *source, memory, *uploader, multipliesE4M3(order.description->shape, target));
    MOEC_TRY(made.status());
    uploaded = std::move(*made);
  }
  layer->weights = uploaded;
  Result<std::shared_ptr<const CUdeviceptr>> piece = tables->take();
  MOEC_TRY(piece.status());
  layer->order = std::move(*piece);
  const std::vector<int32_t> experts = deviceOrder(layer->shape, layer->plan.table);
  layer->asNumbered = std::is_sorted(experts.begin(), experts.end());
  if (!layer->asNumbered)
    MOEC_TRY(uploader->copy(*layer->order, experts.data(), experts.size() * sizeof(int32_t)));
  MOEC_TRY(uploader->finish());
  if (Status status = makeMaps(*driver, *layer); !status.ok())
    return status.withContext("layer {}", layer->number);
  return std::shared_ptr<const DeviceLayer>(std::move(layer));
}

Result<double> CudaDevice::validate(const DeviceLayer &candidate, const DeviceLayer &reference) {
  BackgroundScope scope(*driver);
  MOEC_TRY(scope.status());
  Lock lock(building);
  return validator->validate(own(candidate), own(reference));
}

std::vector<CUevent> CudaDevice::stepEnds() const {
  std::vector<CUevent> ends;
  for (const Slot &slot : slots)
    if (slot.used.load(std::memory_order_acquire))
      ends.push_back(slot.done.get());
  return ends;
}

void CudaDevice::retire(std::shared_ptr<const void> unreachable) {
  retirement->add(std::move(unreachable), stepEnds());
}

Result<std::unique_ptr<HostBridge>> CudaDevice::bridge() { return CudaBridge::make(driver, memory); }

void CudaDevice::withoutReports(const std::function<void()> &change) { samples->withoutReports(change); }

//===-- The step path -------------------------------------------------------------------------===//

CudaLaunchSite CudaDevice::siteOn(CUstream stream) const {
  // Each step that may run on a stream has one dispatch at a time, and the validator another.
  const uint32_t gridBlocks = target.gpu.multiprocessors / (options.maxSteps + 1);
  return {*driver,   stream, target.gpu.multiprocessors, computeMajor(target.arch) >= 9, target.arch == "sm_90a",
          gridBlocks};
}

bool CudaDevice::captures(void *stream) const {
  ContextScope scope(*driver);
  Result<bool> capturing = isCapturing(*driver, streamOf(stream));
  return capturing && *capturing; // an error shows again in `forward`
}

Status CudaDevice::begin(uint32_t index, void *stream) {
  ContextScope scope(*driver);
  MOEC_TRY(scope.status());
  Slot &slot = slots[index];
  slot.captured = index >= options.maxSteps;
  if (slot.captured) {
    Result<cuuint64_t> capture = graphSlots->hold(*driver, streamOf(stream), index);
    MOEC_TRY(capture.status());
    slot.capture = *capture;
  } else if (slot.used.load(std::memory_order_relaxed)) {
    // Even where both have one handle: CU_STREAM_PER_THREAD is another stream on each thread, and a stream that is gone
    // leaves its handle to a new one. Within one stream this waits for nothing.
    MOEC_CUDA(*driver, cuStreamWaitEvent, (streamOf(stream), slot.done.get(), CU_EVENT_WAIT_DEFAULT),
              "joining the step before in the same buffers");
  }
  slot.stream = streamOf(stream);
  return {};
}

bool CudaDevice::end(uint32_t index) noexcept {
  Slot &slot = slots[index];
  if (slot.captured)
    return false; // until its graph goes
  ContextScope scope(*driver);
  // The event would be of somebody's graph, and say nothing of what was queued before: the buffers stay taken.
  if (const Result<bool> capturing = isCapturing(*driver, slot.stream); capturing && *capturing)
    return false;
  // An error means that the device is lost: nothing runs there that could still need the slot.
  if (driver->api().cuEventRecordFn(slot.done.get(), slot.stream) == CUDA_SUCCESS)
    slot.used.store(true, std::memory_order_release);
  return true;
}

namespace {

/// Kernels load and store 16 bytes at a time; rows that are copied first (H not in eights) need their elements' own.
Status checkAddresses(const CudaLayer &layer, const ForwardRequest &request) {
  const uint64_t rows = layer.shape.hidden % 8 == 0 ? 16 : byteSize(layer.shape.dtype);
  const auto check = [&](const char *name, const void *address, uint64_t multiple) {
    return reinterpret_cast<uint64_t>(address) % multiple == 0
               ? Status()
               : makeError(Code::InvalidArgument, "layer {}: {} is at {:#x}, not at a multiple of {} bytes",
                           layer.number, name, reinterpret_cast<uint64_t>(address), multiple);
  };
  MOEC_TRY(check("hidden", request.hidden.data, rows));
  MOEC_TRY(check("output", request.output.data, rows));
  if (!request.routing)
    return {};
  MOEC_TRY(check("ids", request.routing->ids, sizeof(int32_t)));
  return check("weights", request.routing->weights, sizeof(float));
}

} // namespace

Status CudaDevice::checkCapture(const Slot &slot) const {
  cuuint64_t capture = 0;
  Result<bool> capturing = isCapturing(*driver, slot.stream, nullptr, &capture);
  MOEC_TRY(capturing.status());
  if (*capturing && slot.captured && capture != slot.capture)
    return makeError(Code::InvalidArgument, "the step began in another capture of its stream");
  if (*capturing != slot.captured)
    return makeError(Code::InvalidArgument,
                     "the step began {} its stream was being captured: a graph holds the buffers of "
                     "steps that begin and end within its capture",
                     slot.captured ? "while" : "before");
  return {};
}

Status CudaDevice::forward(const ForwardRequest &request) {
  ContextScope scope(*driver);
  MOEC_TRY(scope.status());
  const CudaLayer &layer = own(request.layer);
  Slot &slot = slots[request.slot];
  MOEC_TRY(checkAddresses(layer, request));
  MOEC_TRY(checkCapture(slot));
  const auto tokens = static_cast<uint32_t>(request.hidden.rows);
  const auto place = std::lower_bound(layerNumbers.begin(), layerNumbers.end(), layer.number) - layerNumbers.begin();
  SampleLane &lane = samples->lane(request.slot, static_cast<uint32_t>(place));
  const QueuedForward queued{request.generation, tokens, request.phase};
  SampleLane::Timing *timing = slot.captured
                                   ? lane.openCaptured(queued, options.timeGraphs)
                                   : lane.open(queued, lane.isTurn(timeEvery.load(std::memory_order_relaxed)));
  // In a graph plain records are edges between nodes; external ones are records that the host can ask for.
  const unsigned flags = slot.captured ? CU_EVENT_RECORD_EXTERNAL : CU_EVENT_RECORD_DEFAULT;
  const auto recordTime = [&](CudaEvent SampleLane::Timing::*event, const char *what) -> Status {
    if (timing)
      MOEC_CUDA(*driver, cuEventRecordWithFlags, ((timing->*event).get(), slot.stream, flags), "layer {}, its {}",
                layer.number, what);
    return {};
  };
  CudaLaunchSite site = siteOn(slot.stream);
  site.watch = options.launchWatch.get();
  if (slot.captured) // where launches cost the host nothing, and three are 1 to 4 us quicker than one that waits
    site.gridBlocks = 0;
  CudaForward forward(layer, slot.space, site);
  Status status = recordTime(&SampleLane::Timing::begin, "start");
  if (status.ok())
    status = forward.run(request.hidden.data, tokens, request.routing, {lane.ring(), samples->nonFinite()},
                         request.output.data);
  if (status.ok())
    status = recordTime(&SampleLane::Timing::end, "end");
  if (!status.ok() && timing)
    lane.forget(*timing);
  if (!slot.captured && forward.leavesCounts()) // even if what came behind them failed
    lane.commit();
  return status;
}

} // namespace moec
