#include "runtime/KernelLibrary.h"

#include "compiler/core/Histogram.h"
#include "runtime/ProfileRange.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

namespace moec {
namespace {

// Some hundred KB each; a drift that comes back finds its kernels among so many.
constexpr size_t keptPerLayer = 16;

double millisecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

std::shared_ptr<const LoadedKernels> KernelLibrary::find(uint32_t layer, const LayerConfig &config) const {
  auto found = kept.find({layer, config.text()});
  return found == kept.end() ? nullptr : found->second.kernels;
}

bool KernelLibrary::runsOn(const TargetFacts &compiled, const TargetFacts &facts) {
  return compiled.device == facts.device && compiled.arch == facts.arch && compiled.isa == facts.isa;
}

Status KernelLibrary::addFrom(const Package &package, const std::map<uint32_t, LayerConfig> &configs) {
  for (const LayerPackage &layer : package.layers) {
    auto wanted = configs.find(layer.layer);
    if (wanted == configs.end() || wanted->second != layer.plan.config || find(layer.layer, layer.plan.config))
      continue;
    const ProfileRange range("load", layer.layer);
    auto loaded = device.load(package, layer, calibration);
    if (!loaded)
      return loaded.status();
    kept[{layer.layer, layer.plan.config.text()}] = {*loaded, calls};
  }
  return {};
}

CompileRequest KernelLibrary::requestFor(const std::map<uint32_t, LayerConfig> &configs) const {
  CompileRequest request;
  request.model = context.model->text();
  request.profile.defaultTokens = context.plannedTokens;
  request.target = context.facts;
  request.limits = context.limits;
  request.limits.packBudgetBytes = 0;
  request.calibration = calibration;
  for (const auto &[layer, config] : configs) {
    const LayerShape &shape = context.model->find(layer)->shape;
    request.layers.push_back(layer);
    request.plans[layer] = planTable(shape, Histogram::uniform(context.plannedTokens, shape.topK, shape.experts),
                                     context.facts, calibration, request.limits, config);
  }
  return request;
}

Result<CompiledPackage> KernelLibrary::compiledFor(const std::map<uint32_t, LayerConfig> &configs, CompilePolicy policy,
                                                   const std::function<bool()> &cancelled) const {
  const ProfileRange range("compile");
  return context.model->compiler()->compile(requestFor(configs), policy, cancelled);
}

Status KernelLibrary::require(const std::map<uint32_t, LayerConfig> &configs, CompilePolicy policy,
                              const std::function<bool()> &cancelled, BuildReport &report) {
  const auto start = std::chrono::steady_clock::now();
  if (context.model->package() && runsOn(context.model->package()->target, context.facts))
    if (Status status = addFrom(*context.model->package(), configs); !status.ok())
      return status;
  std::map<uint32_t, LayerConfig> missing;
  ++calls;
  for (const auto &[layer, config] : configs)
    if (auto found = kept.find({layer, config.text()}); found != kept.end())
      found->second.lastWanted = calls;
    else
      missing.emplace(layer, config);
  if (missing.empty()) {
    report.loadMs = millisecondsSince(start);
    return {};
  }
  Result<CompiledPackage> compiled = compiledFor(missing, policy, cancelled);
  if (!compiled)
    return compiled.status();
  report.cacheHit = compiled->cacheHit;
  report.kernelsBuilt = compiled->cacheHit ? 0 : compiled->package.kernelsBuilt;
  report.compileMs = compiled->milliseconds;
  const auto loading = std::chrono::steady_clock::now();
  if (Status status = addFrom(compiled->package, missing); !status.ok())
    return status.withContext("the compiled package");
  for (const auto &[layer, config] : missing)
    if (!find(layer, config))
      return makeError(Code::CompileFailed, "the compiled package has no {} for layer {}", config.text(), layer);
  report.loadMs = millisecondsSince(loading);
  forgetUnused(configs);
  return {};
}

Status KernelLibrary::compileAhead(uint32_t layer, const std::vector<LayerConfig> &configs,
                                   CompilePolicy policy) const {
  const Compiler &compiler = *context.model->compiler();
  if (!compiler.cache() || configs.empty())
    return {};
  std::vector<Status> failures(configs.size());
  const auto compile = [&](size_t index) {
    failures[index] = compiledFor({{layer, configs[index]}}, policy, {}).status();
  };
  compile(0); // brings along what all of them share, which the others would each build
  if (!failures[0].ok())
    return failures[0];
  std::atomic<size_t> next = 1;
  const auto work = [&] {
    for (size_t index = next++; index < configs.size(); index = next++)
      compile(index);
  };
  std::vector<std::thread> others;
  for (uint32_t i = 1; i < std::min<size_t>(compiler.compilesAtOnce(), configs.size()); ++i)
    others.emplace_back(work);
  work();
  for (std::thread &thread : others)
    thread.join();
  const auto failed = std::find_if(failures.begin(), failures.end(), [](const Status &status) { return !status.ok(); });
  return failed == failures.end() ? Status() : *failed;
}

void KernelLibrary::forget() {
  std::erase_if(kept, [](const auto &entry) { return entry.second.kernels.use_count() == 1; });
}

void KernelLibrary::forgetUnused(const std::map<uint32_t, LayerConfig> &wanted) {
  const size_t limit = keptPerLayer * context.model->layers().size();
  if (kept.size() <= limit)
    return;
  using Entry = std::map<Name, Kept>::iterator;
  std::vector<Entry> free;
  for (Entry entry = kept.begin(); entry != kept.end(); ++entry) {
    const auto found = wanted.find(entry->first.first);
    const bool isWanted = found != wanted.end() && found->second.text() == entry->first.second; // nobody holds it yet
    if (entry->second.kernels.use_count() == 1 && !isWanted)
      free.push_back(entry);
  }
  std::sort(free.begin(), free.end(), [](Entry a, Entry b) { return a->second.lastWanted < b->second.lastWanted; });
  free.resize(std::min(free.size(), kept.size() - limit));
  for (Entry entry : free)
    kept.erase(entry);
}

} // namespace moec
