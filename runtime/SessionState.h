// What a session consists of. Internal to Session, Step and the host.
#pragma once

#include "runtime/Generation.h"
#include "runtime/KernelLibrary.h"
#include "runtime/Session.h"
#include "runtime/device/Device.h"

#include <map>
#include <memory>
#include <vector>

namespace moec {

/// The steps' side (generations, the device's step path) is lock-free; the building side is guarded by `buildMutex`,
/// which no step takes.
class SessionState final : public GenerationHost {
public:
  SessionState(std::shared_ptr<const Model> model, SessionOptions options);
  ~SessionState() override;

  /// Everything of Session::open, once.
  Status open();

  // GenerationHost
  LayerShape layerShape(uint32_t layer) const override;
  TargetFacts facts() const override { return device->facts(); }
  Calibration calibration() const override { return measured; }
  PlanLimits limits(uint32_t layer) const override;
  BuildCosts costs() const override MOEC_EXCLUDES(buildMutex);
  LayerPlan livePlan(uint32_t layer) const override MOEC_EXCLUDES(buildMutex);
  LayerConfig genericConfig(uint32_t layer) const override;
  Result<BuildReport> build(const std::map<uint32_t, LayerPlan> &plans, const std::map<uint32_t, Histogram> &plannedFor,
                            const std::function<bool()> &cancelled) override MOEC_EXCLUDES(buildMutex);
  Status publish(uint64_t generation) override MOEC_EXCLUDES(buildMutex);
  void retire(uint64_t generation) override MOEC_EXCLUDES(buildMutex);
  Status alternate(uint64_t incumbent, uint64_t challenger, bool on) override MOEC_EXCLUDES(buildMutex);

  /// Pins the live generation for a step. Errors: as Session::begin.
  Result<GenerationSet::Pin> pinFor(const StepOptions &step);

  SessionOptions options;
  ForwardLog log;
  std::vector<uint32_t> layerNumbers;
  std::unique_ptr<Device> device;
  std::unique_ptr<GenerationSet> generations; // goes before the device
  BuildReport openReport;

private:
  Status checkOptions();
  Status chooseLayers();
  Status openWeightSource();
  Status obtainCalibration() MOEC_REQUIRES(buildMutex);
  Status measureCalibration(const std::string &key) MOEC_REQUIRES(buildMutex);
  std::map<uint32_t, LayerPlan> genericPlans() const;
  Status buildGeneric() MOEC_REQUIRES(buildMutex);
  Status checkPlan(uint32_t layer, const LayerPlan &plan) const;
  void noteCosts(const BuildReport &report, size_t layers, uint64_t newlyPacked) MOEC_REQUIRES(buildMutex);
  Result<std::shared_ptr<const DeviceLayer>> rebuild(const DeviceLayer &live, const LayerPlan &plan,
                                                     const Histogram &plannedFor,
                                                     const std::function<bool()> &cancelled, BuildReport &report)
      MOEC_REQUIRES(buildMutex);

  CompilePolicy compilePolicy() const {
    return options.mode == Mode::Strict ? CompilePolicy::CacheOnly : CompilePolicy::Allowed;
  }

  const std::shared_ptr<const Model> model;
  Calibration measured;
  std::map<uint32_t, uint64_t> packBytes; // by layer

  mutable Mutex buildMutex; // held while generations are built, published and retired
  std::unique_ptr<KernelLibrary> kernels MOEC_GUARDED_BY(buildMutex);
  uint64_t nextGeneration MOEC_GUARDED_BY(buildMutex) = 1;
  BuildCosts spent MOEC_GUARDED_BY(buildMutex); // by the latest build that had such costs
};

} // namespace moec
