// What a session consists of. Internal to Session, Step and the host.
#pragma once

#include "runtime/Generation.h"
#include "runtime/KernelLibrary.h"
#include "runtime/Session.h"

#include <atomic>
#include <map>
#include <memory>
#include <vector>

namespace moec {

/// The steps' side (generations, workspaces, pool) is lock-free; the building side (kernels, experts' stores) is guarded
/// by `buildMutex`, which no step takes.
class SessionState final : public GenerationHost {
public:
  SessionState(std::shared_ptr<const Model> model, SessionOptions options);

  /// Everything of Session::open, once.
  Status open();

  // GenerationHost
  LayerShape layerShape(uint32_t layer) const override;
  TargetFacts facts() const override { return target; }
  Calibration calibration() const override { return measured; }
  LayerPlan livePlan(uint32_t layer) const override MOEC_EXCLUDES(buildMutex);
  LayerConfig genericConfig(uint32_t layer) const override;
  Result<BuildReport> build(const std::map<uint32_t, LayerPlan> &plans,
                            const std::map<uint32_t, Histogram> &plannedFor,
                            const std::function<bool()> &cancelled) override MOEC_EXCLUDES(buildMutex);
  Status publish(uint64_t generation) override MOEC_EXCLUDES(buildMutex);
  void retire(uint64_t generation) override MOEC_EXCLUDES(buildMutex);
  Status alternate(uint64_t incumbent, uint64_t challenger, bool on) override MOEC_EXCLUDES(buildMutex);

  PlanLimits limitsOf(uint32_t layer) const;
  Status forward(const CpuLayer &layer, uint32_t slot, uint64_t generation, Phase phase, ConstTensorView hidden,
                 const RoutingView *routing, TensorView output);

  SessionOptions options;
  std::vector<uint32_t> layerNumbers;
  std::unique_ptr<GenerationSet> generations;
  BuildReport openReport;

  struct {
    std::atomic<uint64_t> forwards{0}, forwardNs{0}, monitorNs{0}, spilledPairs{0}, nonFiniteLogits{0};
  } counters;

private:

  Status checkOptions();
  Status chooseLayers();
  Status openWeightSource();
  Status obtainCalibration() MOEC_REQUIRES(buildMutex);
  Status measureCalibration(const std::string &key) MOEC_REQUIRES(buildMutex);
  Status makeBuffers();
  std::map<uint32_t, LayerPlan> genericPlans() const;
  Status buildGeneric() MOEC_REQUIRES(buildMutex);
  Status checkPlan(uint32_t layer, const LayerPlan &plan) const;
  Status packExperts(CpuLayer &layer, ThreadPool &pool, const std::function<bool()> &cancelled)
      MOEC_REQUIRES(buildMutex);
  Result<std::shared_ptr<const CpuLayer>> rebuild(const CpuLayer &live, const LayerPlan &plan,
                                                  const Histogram &plannedFor, const std::function<bool()> &cancelled,
                                                  BuildReport &report) MOEC_REQUIRES(buildMutex);

  CompilePolicy compilePolicy() const {
    return options.mode == Mode::Strict ? CompilePolicy::CacheOnly : CompilePolicy::Allowed;
  }

  const std::shared_ptr<const Model> model;
  TargetFacts target;
  Calibration measured;
  std::map<uint32_t, uint64_t> packBytes; // by layer
  std::unique_ptr<ThreadPool> pool;
  std::vector<Workspace> workspaces; // one per step slot
  WorkerScratch workerScratch;

  mutable Mutex buildMutex; // held while generations are built, published and retired
  std::unique_ptr<KernelLibrary> kernels MOEC_GUARDED_BY(buildMutex);
  std::map<uint32_t, std::unique_ptr<ExpertStore>> stores MOEC_GUARDED_BY(buildMutex);
  Workspace validation MOEC_GUARDED_BY(buildMutex);
  uint64_t nextGeneration MOEC_GUARDED_BY(buildMutex) = 1;
};

} // namespace moec
