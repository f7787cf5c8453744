// The session as the loop's host: building, publishing and retiring generations.
#include "runtime/SessionState.h"

#include "runtime/ProfileRange.h"

#include <algorithm>
#include <ctime>
#include <utility>

namespace moec {
namespace {

/// Of the calling thread's processor time, or of the wall clock where the work waits for a device: what a build costs
/// steps, not how long a busy machine made it wait.
class Stopwatch {
public:
  explicit Stopwatch(bool processorTime)
      : clockId(processorTime ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC), last(now()) {}

  /// Milliseconds since the last call, or since the start.
  double lap() {
    const double before = std::exchange(last, now());
    return last - before;
  }

private:
  double now() const {
    timespec time{};
    clock_gettime(clockId, &time);
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
  }

  clockid_t clockId;
  double last;
};

bool isPermutation(const std::vector<uint16_t> &order) {
  std::vector<bool> seen(order.size());
  for (uint16_t expert : order) {
    if (expert >= seen.size() || seen[expert])
      return false;
    seen[expert] = true;
  }
  return true;
}

/// Experts that `after` keeps packed and `before` does not.
uint64_t newlyPackedExperts(const LayerPlan &before, const LayerPlan &after) {
  uint64_t count = 0;
  for (size_t expert = 0; expert < after.table.packed.size(); ++expert)
    count += after.table.packed[expert] && !before.table.packed[expert];
  return count;
}

} // namespace

LayerShape SessionState::layerShape(uint32_t layer) const {
  const LayerDescription *found = model->find(layer);
  return found ? found->shape : LayerShape();
}

PlanLimits SessionState::limits(uint32_t layer) const {
  PlanLimits limits = options.limits;
  if (auto found = packBytes.find(layer); found != packBytes.end())
    limits.packBudgetBytes = found->second;
  return limits;
}

LayerPlan SessionState::livePlan(uint32_t layer) const {
  Lock lock(buildMutex);
  const DeviceLayer *found = generations->live().find(layer);
  return found ? found->plan : LayerPlan();
}

LayerConfig SessionState::genericConfig(uint32_t layer) const {
  const DeviceLayer *found = generations->generic().find(layer);
  return found ? found->plan.config : LayerConfig();
}

Status SessionState::checkPlan(uint32_t layer, const LayerPlan &plan) const {
  const LayerShape shape = layerShape(layer);
  const LayerTable &table = plan.table;
  auto bad = [&](const char *what) {
    return makeError(Code::InvalidArgument, "the plan of layer {}: {}", layer, what);
  };
  if (Status status = device->checkConfig(shape, plan.config); !status.ok())
    return status.withContext("the plan of layer {}", layer);
  if (table.slots.size() != shape.experts || table.packed.size() != shape.experts)
    return bad("slots and packed must have one entry per expert");
  if (table.order.size() != shape.experts || !isPermutation(table.order))
    return bad("order must name each expert once");
  const auto packed = static_cast<uint64_t>(std::count(table.packed.begin(), table.packed.end(), 1));
  const uint64_t bytes = packed * (device->packedLayerBytes(shape) / shape.experts);
  if (const uint64_t budget = limits(layer).packBudgetBytes; bytes > budget)
    return makeError(Code::InvalidArgument,
                     "the plan of layer {}: {} packed experts take {} bytes, its pack budget is {}", layer, packed,
                     bytes, budget);
  return {};
}

BuildCosts SessionState::costs() const {
  Lock lock(buildMutex);
  return spent;
}

void SessionState::noteCosts(const BuildReport &report, size_t layers, uint64_t newlyPacked) {
  const auto count = static_cast<double>(std::max<size_t>(1, layers));
  if (report.kernelsBuilt > 0) // from the cache says nothing about compiling
    spent.compileMs = report.compileMs / count;
  if (report.loadMs > 0)
    spent.loadMs = report.loadMs / count;
  if (report.validateMs > 0)
    spent.validateMs = report.validateMs / count;
  if (newlyPacked > 0)
    spent.packNsPerByte = report.packMs * 1e6 / static_cast<double>(newlyPacked);
}

Result<std::shared_ptr<const DeviceLayer>> SessionState::rebuild(const DeviceLayer &live, const LayerPlan &plan,
                                                                 const Histogram &plannedFor,
                                                                 const std::function<bool()> &cancelled,
                                                                 BuildReport &report) {
  Stopwatch watch(device->facts().device == DeviceKind::Cpu);
  const ProfileRange range("rebuild", live.number);
  const DeviceLayer *generic = generations->generic().find(live.number);
  auto layer = device->make(
      {model->find(live.number), plan, plannedFor, kernels->find(live.number, plan.config), generic}, cancelled);
  if (!layer)
    return layer.status();
  report.packMs += watch.lap();
  Result<double> error = [&] {
    const ProfileRange validating("validate", live.number);
    return device->validate(**layer, *generic);
  }();
  if (!error)
    return error.status();
  report.validateError = std::max(report.validateError, *error);
  report.validateMs += watch.lap();
  return *layer;
}

Result<BuildReport> SessionState::build(const std::map<uint32_t, LayerPlan> &plans,
                                        const std::map<uint32_t, Histogram> &plannedFor,
                                        const std::function<bool()> &cancelled) {
  if (options.mode == Mode::Off)
    return makeError(Code::CompileForbidden, "the session's mode is off: it stays on generation 0");
  Lock lock(buildMutex);
  const ProfileRange range("build");
  const Generation &live = generations->live();
  std::map<uint32_t, LayerConfig> configs;
  for (const auto &[number, plan] : plans) {
    if (!live.find(number))
      return makeError(Code::NotFound, "the session has no layer {}", number);
    if (Status status = checkPlan(number, plan); !status.ok())
      return status;
    configs[number] = plan.config;
  }
  BuildReport report;
  if (Status status = kernels->require(configs, compilePolicy(), cancelled, report); !status.ok())
    return status;
  auto generation = std::make_unique<Generation>();
  uint64_t newlyPacked = 0;
  for (const auto &layer : live.layers) {
    if (cancelled && cancelled())
      return makeError(Code::Cancelled, "building a generation was cancelled");
    auto plan = plans.find(layer->number);
    if (plan == plans.end()) {
      generation->layers.push_back(layer);
    } else {
      auto counts = plannedFor.find(layer->number);
      auto made = rebuild(*layer, plan->second, counts == plannedFor.end() ? layer->plannedFor : counts->second,
                          cancelled, report);
      if (!made)
        return made.status();
      generation->layers.push_back(*made);
      newlyPacked += newlyPackedExperts(layer->plan, plan->second) *
                     (device->packedLayerBytes(layer->shape) / layer->shape.experts);
    }
    report.packedBytes += generation->layers.back()->packedBytes();
  }
  report.generation = generation->number = nextGeneration++;
  generations->add(std::move(generation));
  noteCosts(report, plans.size(), newlyPacked);
  return report;
}

Status SessionState::publish(uint64_t generation) {
  Lock lock(buildMutex);
  const ProfileRange range("swap", generation);
  device->measureClosely(false);
  return generations->publish(generation);
}

void SessionState::retire(uint64_t generation) {
  Lock lock(buildMutex);
  generations->retire(generation);
}

Status SessionState::alternate(uint64_t incumbent, uint64_t challenger, bool on) {
  Lock lock(buildMutex);
  Status status = generations->alternate(incumbent, challenger, on);
  if (status.ok())
    device->measureClosely(on);
  return status;
}

} // namespace moec
