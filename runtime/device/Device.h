// What a session asks of the device that it serves on: kernels, layers, forwards. One implementation per kind of
// device.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/ModelDescription.h"
#include "compiler/core/Package.h"
#include "runtime/Observation.h"
#include "runtime/Tensor.h"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace moec {

class ForwardLog;
struct HostBridge;
class WeightSource;
struct SessionOptions;

/// The kernels of one layer and config, loaded. A device knows its own.
struct LoadedKernels {
  virtual ~LoadedKernels() = default;
};

/// One layer of one generation: kernels, table and weights that travel together. Immutable; generations that do not
/// differ in this layer share it. A device derives its own.
struct DeviceLayer {
  virtual ~DeviceLayer() = default;
  /// Bytes of experts' weights that are held packed.
  virtual uint64_t packedBytes() const { return 0; }

  uint32_t number = 0;
  LayerShape shape;
  RouterSpec router;
  LayerPlan plan;
  Histogram plannedFor;
};

/// A layer to be made.
struct LayerOrder {
  const LayerDescription *description = nullptr;
  LayerPlan plan;
  Histogram plannedFor;
  std::shared_ptr<const LoadedKernels> kernels; // of plan.config
  const DeviceLayer *generic = nullptr;         // the same layer of generation 0; null: this is to be it
};

/// One layer of one step. Tensors are checked against the layer and hold at least one token.
struct ForwardRequest {
  const DeviceLayer &layer;
  uint32_t slot = 0; // of the step
  uint64_t generation = 0;
  Phase phase = Phase::Decode;
  ConstTensorView hidden;
  const RoutingView *routing = nullptr; // null: the layer's router routes
  TensorView output;
};

/// The router's part of a layer of one step: `hidden` is checked and holds at least one token.
struct RouteRequest {
  const DeviceLayer &layer;
  uint32_t slot = 0;
  ConstTensorView hidden;
  int32_t *ids = nullptr; // [T, K]
  float *weights = nullptr;
};

/// A session's device. `begin`, `forward` and `end` are the step path: any number of steps at once, each on a slot of
/// its own, no waiting and no allocation. All else is called by one thread at a time, beside steps.
class Device {
public:
  virtual ~Device() = default;

  virtual const TargetFacts &facts() const = 0;
  /// Bytes that one layer with all experts packed takes; 0 where nothing is packed.
  virtual uint64_t packedLayerBytes(const LayerShape &shape) const = 0;
  /// Makes the buffers of all step slots, and notes where weights come from. Once, before anything below. `freeSlot` is
  /// called for each slot that `end` kept; from any thread.
  virtual Status prepare(const std::vector<const LayerDescription *> &layers,
                         std::shared_ptr<const WeightSource> weights, std::function<void(uint32_t slot)> freeSlot) = 0;

  /// The kernels of some configs of a layer, in their order, for `calibrate`.
  using ObtainKernels = std::function<Result<std::vector<std::shared_ptr<const LoadedKernels>>>(
      uint32_t layer, const std::vector<LayerConfig> &configs)>;
  /// What a calibration belongs to in the cache.
  virtual std::string calibrationKey(const LayerShape &shape, const std::string &buildId) const = 0;
  virtual Result<Calibration> calibrate(const LayerDescription &layer, const ObtainKernels &obtain) = 0;

  /// Whether the device can run this config for a layer. Error: InvalidArgument.
  virtual Status checkConfig(const LayerShape &shape, const LayerConfig &config) const = 0;
  /// Loads one layer's kernels. Errors: InvalidModel (a launch list that cannot be run, named), NotFound (a symbol).
  virtual Result<std::shared_ptr<const LoadedKernels>> load(const Package &package, const LayerPackage &layer,
                                                            const Calibration &calibration) = 0;
  /// Brings a layer's weights where its plan wants them. Errors: InvalidModel, ResourceExhausted, Cancelled.
  virtual Result<std::shared_ptr<const DeviceLayer>> make(LayerOrder order, const std::function<bool()> &cancelled) = 0;
  /// Relative L2 distance of `candidate` to `reference` on fixed inputs. Error: VerificationMismatch.
  virtual Result<double> validate(const DeviceLayer &candidate, const DeviceLayer &reference) = 0;
  /// Frees what no generation reaches any more, as soon as the device is done with it; does not wait for it.
  virtual void retire(std::shared_ptr<const void> unreachable) { unreachable.reset(); }
  /// Two generations are being compared: the time of every forward counts.
  virtual void measureClosely(bool) {}
  /// The session goes: the `freeSlot` that it gave (prepare) is not called any more once this returns.
  virtual void close() {}
  /// Returns when the device is done with all steps that have ended and their samples are reported.
  virtual void finish() {}
  /// For programs whose tensors are in host memory (HostRunner.h).
  virtual Result<std::unique_ptr<HostBridge>> bridge() = 0;
  /// Runs `change` while no forward is being reported.
  virtual void withoutReports(const std::function<void()> &change) { change(); }

  /// Whether a step on this stream is captured into a graph: it then takes one of the slots from maxSteps on.
  virtual bool captures(void *) const { return false; }
  /// Starts a step on the caller's stream (of no meaning on a CPU).
  virtual Status begin(uint32_t slot, void *stream) = 0;
  virtual Status forward(const ForwardRequest &request) = 0;
  /// On the step path too. Errors: InvalidArgument (a device that routes only within a forward, a layer without a
  /// router).
  virtual Status route(const RouteRequest &request) {
    return makeError(Code::InvalidArgument, "layer {}: this device runs routers only within a forward",
                     request.layer.number);
  }
  /// Whether the slot is free for another step. If not, the device frees it later.
  virtual bool end(uint32_t slot) noexcept = 0;
};

/// Opens the device that `options.device` names. `options` and `log` must outlive it.
/// Errors: InvalidArgument (unknown name), DeviceMissing.
Result<std::unique_ptr<Device>> openDevice(const SessionOptions &options, ForwardLog &log);

} // namespace moec
