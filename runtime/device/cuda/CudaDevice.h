// A GPU as a session's device.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/Session.h"
#include "runtime/device/Device.h"
#include "runtime/device/cuda/GraphSlots.h"
#include "runtime/device/cuda/Retirement.h"
#include "runtime/device/cuda/Samples.h"
#include "runtime/device/cuda/Validator.h"

#include <condition_variable>
#include <thread>

namespace moec {

/// A step queues its kernels on its caller's stream and ends on the host long before it does on the device. So each
/// slot has an event behind its last step: the next step in it waits for that (on the device, where it may be another
/// stream), and what generations held is let go of behind all of them.
///
/// A thread of its own reads the samples that steps leave and lets go of what was retired.
class CudaDevice final : public Device {
public:
  /// Errors: InvalidArgument, DeviceMissing, and the driver's.
  static Result<std::unique_ptr<Device>> open(const SessionOptions &options, ForwardLog &log);
  ~CudaDevice() override;

  const TargetFacts &facts() const override { return target; }
  uint64_t packedLayerBytes(const LayerShape &) const override { return 0; }
  Status prepare(const std::vector<const LayerDescription *> &layers, std::shared_ptr<const WeightSource> weights,
                 std::function<void(uint32_t slot)> freeSlot) override MOEC_EXCLUDES(building);
  std::string calibrationKey(const LayerShape &shape, const std::string &buildId) const override {
    return gpuCalibrationKey(target, shape.dtype, buildId);
  }
  Result<Calibration> calibrate(const LayerDescription &layer, const ObtainKernels &obtain) override
      MOEC_EXCLUDES(building);
  Status checkConfig(const LayerShape &shape, const LayerConfig &config) const override;
  Result<std::shared_ptr<const LoadedKernels>> load(const Package &package, const LayerPackage &layer,
                                                    const Calibration &calibration) override MOEC_EXCLUDES(building);
  Result<std::shared_ptr<const DeviceLayer>> make(LayerOrder order, const std::function<bool()> &cancelled) override
      MOEC_EXCLUDES(building);
  Result<double> validate(const DeviceLayer &candidate, const DeviceLayer &reference) override MOEC_EXCLUDES(building);
  void retire(std::shared_ptr<const void> unreachable) override;
  void withoutReports(const std::function<void()> &change) override;
  void measureClosely(bool on) override { timeEvery.store(on ? 1 : kTimeEvery, std::memory_order_relaxed); }
  void close() override;
  void finish() override;
  Result<std::unique_ptr<HostBridge>> bridge() override;

  bool captures(void *stream) const override;
  Status begin(uint32_t slot, void *stream) override;
  Status forward(const ForwardRequest &request) override;
  bool end(uint32_t slot) noexcept override;

private:
  /// One forward of a layer in so many is timed: two events are cheap, but kernels beside them do not overlap.
  static constexpr uint32_t kTimeEvery = 8;

  struct alignas(64) Slot {
    CUstream stream = nullptr;
    bool captured = false;
    cuuint64_t capture = 0;        // which one
    std::atomic<bool> used{false}; // `done` has been recorded
    CudaEvent done;                // behind the last step
    CudaWorkspace space;
  };

  CudaDevice(const SessionOptions &options, ForwardLog &log, std::shared_ptr<CudaDriver> driver,
             const TargetFacts &facts);
  Status checkLayer(const LayerDescription &layer) const;
  /// A step belongs to a capture from its beginning to its end, or to none.
  Status checkCapture(const Slot &slot) const;
  Status makeSlots(const std::vector<LayerShape> &shapes) MOEC_REQUIRES(building);
  std::vector<CUevent> stepEnds() const;
  CudaLaunchSite siteOn(CUstream stream) const;
  void watch();

  const SessionOptions &options;
  ForwardLog &log;
  const std::shared_ptr<CudaDriver> driver;
  const TargetFacts target;
  const DeviceMemory memory;
  std::vector<uint32_t> layerNumbers; // a layer's place in it is its lane
  std::vector<Slot> slots;            // of steps, then of captured steps
  std::shared_ptr<GraphSlots> graphSlots;
  std::unique_ptr<CudaSamples> samples;
  std::unique_ptr<Retirement> retirement;
  std::atomic<uint32_t> timeEvery{kTimeEvery};

  Mutex building;
  CudaKernelLoader loader MOEC_GUARDED_BY(building);
  std::map<uint32_t, LayerDescription> described MOEC_GUARDED_BY(building);
  std::shared_ptr<const WeightSource> source MOEC_GUARDED_BY(building);
  std::map<uint32_t, std::shared_ptr<const CudaWeights>> weights MOEC_GUARDED_BY(building);
  std::unique_ptr<Uploader> uploader MOEC_GUARDED_BY(building);
  std::unique_ptr<CudaValidator> validator MOEC_GUARDED_BY(building);
  std::shared_ptr<PiecePool> tables MOEC_GUARDED_BY(building);

  std::mutex wakeMutex;
  std::condition_variable wake;
  bool stopping = false; // under wakeMutex
  std::thread watcher;
};

} // namespace moec
