// The CPU as a session's device.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/Session.h"
#include "runtime/device/Device.h"
#include "runtime/device/cpu/Image.h"
#include "runtime/device/cpu/LayerExecutor.h"

namespace moec {

/// Steps use `workspaces`, `pool` and `workerScratch`, which never change after `prepare`; what builds use is guarded
/// by `building`, which no step takes.
class CpuDevice final : public Device {
public:
  static Result<std::unique_ptr<Device>> open(const SessionOptions &options, ForwardLog &log);

  const TargetFacts &facts() const override { return target; }
  uint64_t packedLayerBytes(const LayerShape &shape) const override;
  Status prepare(const std::vector<const LayerDescription *> &layers, std::shared_ptr<const WeightSource> weights,
                 std::function<void(uint32_t)> freeSlot) override MOEC_EXCLUDES(building);
  std::string calibrationKey(const LayerShape &shape, const std::string &buildId) const override;
  Result<Calibration> calibrate(const LayerDescription &layer, const ObtainKernels &obtain) override;
  Status checkConfig(const LayerShape &shape, const LayerConfig &config) const override;
  Result<std::shared_ptr<const LoadedKernels>> load(const Package &package, const LayerPackage &layer,
                                                    const Calibration &calibration) override MOEC_EXCLUDES(building);
  Result<std::shared_ptr<const DeviceLayer>> make(LayerOrder order, const std::function<bool()> &cancelled) override
      MOEC_EXCLUDES(building);
  Result<double> validate(const DeviceLayer &candidate, const DeviceLayer &reference) override MOEC_EXCLUDES(building);

  Result<std::unique_ptr<HostBridge>> bridge() override;

  Status begin(uint32_t, void *) override { return {}; }
  Status forward(const ForwardRequest &request) override;
  Status route(const RouteRequest &request) override;
  bool end(uint32_t) noexcept override { return true; }

private:
  CpuDevice(const SessionOptions &options, ForwardLog &log, const TargetFacts &facts)
      : options(options), log(log), target(facts) {}
  Result<std::shared_ptr<const KernelImage>> image(const Image &image) MOEC_REQUIRES(building);
  Status packExperts(CpuLayer &layer, ThreadPool &threads, const std::function<bool()> &cancelled)
      MOEC_REQUIRES(building);

  const SessionOptions &options;
  ForwardLog &log;
  const TargetFacts target;
  std::unique_ptr<ThreadPool> pool;
  std::vector<Workspace> workspaces; // one per step slot
  WorkerScratch workerScratch;
  // Layers whose launch list ends after the choice of experts, on generation 0's kernels: no generation routes
  // otherwise. Filled while generation 0 is made.
  std::map<uint32_t, CpuLayer> routers;

  Mutex building;
  std::map<uint32_t, std::unique_ptr<ExpertStore>> stores MOEC_GUARDED_BY(building);        // by layer
  std::map<std::string, std::weak_ptr<const KernelImage>> images MOEC_GUARDED_BY(building); // by key text
  Workspace validation MOEC_GUARDED_BY(building);
};

} // namespace moec
