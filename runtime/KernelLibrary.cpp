#include "runtime/KernelLibrary.h"

#include "compiler/core/Histogram.h"

#include <chrono>

namespace moec {
namespace {

// Some hundred KB each; a drift that comes back finds its kernels among so many.
constexpr size_t keptPerLayer = 16;

double millisecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

} // namespace

std::shared_ptr<const LayerKernels> KernelLibrary::find(uint32_t layer, const CpuConfig &config) const {
  auto found = kernels.find({layer, config.text()});
  return found == kernels.end() ? nullptr : found->second;
}

Result<std::shared_ptr<const KernelImage>> KernelLibrary::image(const Image &image) {
  if (auto loaded = images[image.key].lock(); loaded && !image.key.empty())
    return loaded;
  auto loaded = context.loader(image);
  if (loaded && !image.key.empty())
    images[image.key] = *loaded;
  return loaded;
}

Status KernelLibrary::addFrom(const Package &package, const std::map<uint32_t, CpuConfig> &configs) {
  for (const LayerPackage &layer : package.layers) {
    auto wanted = configs.find(layer.layer);
    if (wanted == configs.end() || wanted->second != layer.plan.config.cpu || find(layer.layer, layer.plan.config.cpu))
      continue;
    if (layer.image >= package.images.size())
      return makeError(Code::InvalidModel, "layer {}: image {} of {}", layer.layer, layer.image, package.images.size());
    auto loaded = image(package.images[layer.image]);
    if (!loaded)
      return loaded.status().withContext("layer {}", layer.layer);
    auto bound = bindKernels(layer, context.facts, calibration, *loaded);
    if (!bound)
      return bound.status();
    kernels[{layer.layer, layer.plan.config.text()}] = *bound;
  }
  return {};
}

CompileRequest KernelLibrary::requestFor(const std::map<uint32_t, CpuConfig> &configs) const {
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

Status KernelLibrary::require(const std::map<uint32_t, CpuConfig> &configs, CompilePolicy policy,
                              const std::function<bool()> &cancelled, BuildReport &report) {
  const auto start = std::chrono::steady_clock::now();
  if (context.model->package() && context.model->package()->target.device == context.facts.device &&
      context.model->package()->target.isa == context.facts.isa)
    if (Status status = addFrom(*context.model->package(), configs); !status.ok())
      return status;
  std::map<uint32_t, CpuConfig> missing;
  for (const auto &[layer, config] : configs)
    if (!find(layer, config))
      missing.emplace(layer, config);
  if (missing.empty()) {
    report.loadMs = millisecondsSince(start);
    return {};
  }
  Result<CompiledPackage> compiled = context.model->compiler()->compile(requestFor(missing), policy, cancelled);
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
  forgetUnused();
  return {};
}

void KernelLibrary::forgetUnused() {
  const size_t limit = keptPerLayer * context.model->layers().size();
  for (auto entry = kernels.begin(); entry != kernels.end() && kernels.size() > limit;)
    entry = entry->second.use_count() == 1 ? kernels.erase(entry) : std::next(entry);
}

} // namespace moec
