#include "runtime/device/cuda/Kernels.h"

#include "compiler/core/JoinedShared.h"

#include <algorithm>

namespace moec {

Result<std::shared_ptr<const CudaImage>> CudaKernelLoader::image(const Image &image) {
  std::erase_if(images, [](const auto &entry) { return entry.second.expired(); });
  if (auto loaded = images.find(image.key); loaded != images.end() && !image.key.empty())
    if (auto shared = loaded->second.lock())
      return shared;
  CUlibrary library = nullptr;
  MOEC_CUDA(*driver, cuLibraryLoadData, (&library, image.bytes.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
            "loading a cubin of {} bytes", image.bytes.size());
  auto loaded = std::make_shared<CudaImage>();
  loaded->library = CudaLibrary(driver, library);
  if (!image.key.empty())
    images[image.key] = loaded;
  return std::shared_ptr<const CudaImage>(std::move(loaded));
}

/// Binds the launches of one layer, one after another.
class CudaKernelLoader::Binder {
public:
  Binder(CudaKernelLoader &loader, const Package &package, const LayerPackage &layer)
      : loader(loader), package(package), layer(layer), bound(std::make_shared<CudaKernels>()) {}

  Result<std::shared_ptr<const CudaKernels>> run() {
    if (layer.plan.config.device != DeviceKind::Cuda)
      return makeError(Code::InvalidModel, "kernels of {} are not for a GPU", layer.plan.config.text());
    bound->config = layer.plan.config.cuda;
    for (const Launch &launch : layer.launches) {
      if (std::find(seen.begin(), seen.end(), launch.kind) != seen.end())
        return makeError(Code::InvalidModel, "the launch list has {} twice", launchName(launch.kind));
      seen.push_back(launch.kind);
      if (Status status = bind(launch); !status.ok())
        return status.withContext("{}", launchName(launch.kind));
    }
    if (Status status = checkComplete(); !status.ok())
      return status;
    return std::shared_ptr<const CudaKernels>(std::move(bound));
  }

private:
  Status bind(const Launch &launch) {
    const CudaConfig &config = bound->config;
    switch (launch.kind) {
    case LaunchKind::Router: return router(launch);
    case LaunchKind::Route: return kernels(launch, {&bound->route});
    case LaunchKind::Dispatch: return dispatch(launch);
    case LaunchKind::GateUp: return gemm(launch, config.gateUp, GemmRole::GateUp, false, bound->gateUp);
    case LaunchKind::Down: return gemm(launch, config.down, GemmRole::Down, false, bound->down);
    case LaunchKind::SharedGateUp:
      return gemm(launch, config.sharedGateUp, GemmRole::GateUp, true, bound->sharedGateUp.emplace());
    case LaunchKind::SharedDown:
      return gemm(launch, config.sharedDown, GemmRole::Down, true, bound->sharedDown.emplace());
    case LaunchKind::Store: return kernels(launch, {&bound->combine});
    }
    return makeError(Code::InvalidModel, "an unknown launch");
  }

  Status router(const Launch &launch) {
    if (launch.kernels.empty() || launch.kernels.back().maxTokens != UINT32_MAX)
      return makeError(Code::InvalidModel, "no kernel for any number of tokens");
    for (const KernelRef &ref : launch.kernels) {
      if (ref.rows == 0 || ref.columns == 0)
        return makeError(Code::InvalidModel, "kernel {} has no tile", ref.symbol);
      CudaRouter &made = bound->router.emplace_back(CudaRouter{{}, ref.maxTokens, ref.rows, ref.columns});
      if (Status status = function(ref, made.kernel); !status.ok())
        return status.withContext("kernel {}", ref.symbol);
    }
    return {};
  }

  Status dispatch(const Launch &launch) {
    std::vector<Wanted> wanted{&bound->dispatchOneBlock, &bound->dispatchCount, &bound->dispatchScan,
                               &bound->dispatchPlace, &bound->dispatchGrid};
    if (hasClusters(package.target.arch))
      wanted.push_back(&bound->dispatchCluster.emplace());
    return kernels(launch, wanted);
  }

  Status gemm(const Launch &launch, const CudaTile &tile, GemmRole role, bool dense, CudaProduct &to) {
    if (dense && !hasDenseForm(tile))
      return makeError(Code::InvalidModel, "tile {} has no dense form", tile.text());
    const LayerShape &shape = layer.shape;
    const uint32_t inner = dense ? shape.sharedIntermediate : shape.intermediate;
    to.family = tile.family;
    to.config = gemmConfigOf(tile, bound->config.element, role, dense);
    to.config.combines = role == GemmRole::Down && !dense && downCombines(shape, tile.family);
    const uint32_t k = role == GemmRole::GateUp ? shape.hidden : inner,
                   n = role == GemmRole::GateUp ? inner : shape.hidden;
    to.k = paddedForCuda(k);
    to.n = paddedForCuda(n);
    if (launch.k != k || launch.columns != n)
      return makeError(Code::InvalidModel, "sums of {} and {} columns, the shape has {} and {}", launch.k,
                       launch.columns, k, n);
    const uint32_t mostShared = mostSharedBytes(tile.family, to.config);
    std::vector<Wanted> wanted{{&to.kernel, mostShared}};
    if (tile.family == GemmFamily::Fp8 && role == GemmRole::GateUp)
      wanted.push_back(&bound->quantise);
    const bool hasOther = !dense && hasQuantisingForm(role, shape, bound->config.gateUp, bound->config.down);
    if (hasOther)
      wanted.push_back({&to.quantising, mostShared});
    CudaKernel *few = dense ? nullptr : fewOf(role);
    if (few)
      wanted.push_back(few);
    MOEC_TRY(kernels(launch, wanted));
    MOEC_TRY(checkLaunch(to.kernel, to.config, tile));
    if (few)
      MOEC_TRY(finishFew(role, tile.family, *few));
    return hasOther ? checkLaunch(to.quantising, to.config, tile) : Status();
  }

  /// Where the kernel goes that takes a product's place in steps of few tokens; null where the layer has none.
  CudaKernel *fewOf(GemmRole role) {
    const CudaTile &gateUp = bound->config.gateUp, &down = bound->config.down;
    if (role == GemmRole::GateUp)
      return hasGateUpFew(layer.shape, gateUp, down) ? &bound->gateUpFew.emplace() : nullptr;
    return hasDownFew(layer.shape, gateUp.family, down.family) ? &bound->downFew.emplace() : nullptr;
  }

  Status finishFew(GemmRole role, GemmFamily family, const CudaKernel &kernel) {
    if (role == GemmRole::Down)
      return checkFew(kernel, family == GemmFamily::Fp8 ? "downFewFp8" : "downFew", kDownFewThreads,
                      downFewMostSharedBytes(family));
    MOEC_TRY(checkFew(kernel, "gateUpFewFp8", kGateUpFewThreads, kGateUpFewMostSharedBytes));
    return preferShared(kernel);
  }

  static Status checkFew(const CudaKernel &kernel, const char *name, uint32_t threads, uint32_t sharedBytes) {
    if (kernel.threads != threads || kernel.sharedBytes != sharedBytes)
      return makeError(Code::InvalidModel, "{} threads and {} bytes of shared memory, but {} takes {} and {}",
                       kernel.threads, kernel.sharedBytes, name, threads, sharedBytes);
    return {};
  }

  /// Else the driver splits off only as much shared memory as the kernel's own blocks need, and a multiprocessor
  /// changes its split only when idle: blocks of downFewFp8, which would fit beside, would begin after the last of
  /// these. (One token of Qwen3 15.0 -> 14.4 us on an H200.)
  Status preferShared(const CudaKernel &kernel) {
    MOEC_CUDA(*loader.driver, cuFuncSetAttribute,
              (kernel.function, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, CU_SHAREDMEM_CARVEOUT_MAX_SHARED),
              "all memory that can be shared memory");
    return {};
  }

  static Status checkLaunch(const CudaKernel &kernel, const GemmConfig &config, const CudaTile &tile) {
    const uint32_t threads = gemmThreads(tile.family, config);
    if (kernel.threads != threads || kernel.sharedBytes != sharedBytes(tile))
      return makeError(Code::InvalidModel, "{} threads and {} bytes of shared memory, but tile {} takes {} and {}",
                       kernel.threads, kernel.sharedBytes, tile.text(), threads, sharedBytes(tile));
    return {};
  }

  /// Where a kernel goes, and dynamic shared memory that it may be launched with besides its own (runsAlone).
  struct Wanted {
    CudaKernel *to;
    uint32_t mostShared = 0;
    Wanted(CudaKernel *to, uint32_t mostShared = 0) : to(to), mostShared(mostShared) {}
  };

  /// Loads a launch's kernels in order.
  Status kernels(const Launch &launch, const std::vector<Wanted> &wanted) {
    if (launch.kernels.size() != wanted.size())
      return makeError(Code::InvalidModel, "{} kernels, expected {}", launch.kernels.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i)
      if (Status status = function(launch.kernels[i], *wanted[i].to, wanted[i].mostShared); !status.ok())
        return status.withContext("kernel {}", launch.kernels[i].symbol);
    return {};
  }

  Status function(const KernelRef &kernel, CudaKernel &to, uint32_t mostShared = 0) {
    const CudaDriver &driver = *loader.driver;
    if (kernel.image >= package.images.size())
      return makeError(Code::InvalidModel, "image {} of {}", kernel.image, package.images.size());
    const KernelResources &resources = package.images[kernel.image].resources;
    if (resources.threads == 0 || resources.threads > 1024 || resources.threads % 32 != 0)
      return makeError(Code::InvalidModel, "{} threads", resources.threads);
    Result<std::shared_ptr<const CudaImage>> image = loader.image(package.images[kernel.image]);
    if (!image)
      return image.status();
    CUkernel found = nullptr;
    CudaKernel loaded{nullptr, resources.threads, resources.dynamicSharedBytes};
    MOEC_CUDA(driver, cuLibraryGetKernel, (&found, (*image)->library.get(), kernel.symbol.c_str()), "finding it");
    MOEC_CUDA(driver, cuKernelGetFunction, (&loaded.function, found), "its function");
    MOEC_CUDA(driver, cuFuncLoad, (loaded.function), "bringing it to the device");
    if (loaded.sharedBytes > 0) { // once and for all: another generation may be launching the same function meanwhile
      const uint32_t most = std::max(loaded.sharedBytes, mostShared);
      MOEC_CUDA(driver, cuFuncSetAttribute,
                (loaded.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, static_cast<int>(most)),
                "{} bytes of shared memory", most);
    }
    to = loaded;
    bound->images.push_back(std::move(*image));
    return {};
  }

  Status checkComplete() const {
    const auto has = [&](LaunchKind kind) { return std::find(seen.begin(), seen.end(), kind) != seen.end(); };
    for (LaunchKind kind : {LaunchKind::Dispatch, LaunchKind::GateUp, LaunchKind::Down, LaunchKind::Store})
      if (!has(kind))
        return makeError(Code::InvalidModel, "the launch list has no {}", launchName(kind));
    if (has(LaunchKind::Router) != has(LaunchKind::Route))
      return makeError(Code::InvalidModel, "the launch list has only one of router and route");
    const bool shared = layer.shape.sharedIntermediate > 0 && !joinsShared(layer.shape);
    if ((bound->gateUp.family == GemmFamily::Fp8) != (bound->down.family == GemmFamily::Fp8))
      return makeError(Code::InvalidModel, "gate-up and down differ in the elements that they multiply");
    if (has(LaunchKind::SharedGateUp) != shared || has(LaunchKind::SharedDown) != shared)
      return makeError(Code::InvalidModel,
                       "the launch list and the shape differ on whether a shared expert has launches of its own");
    if (layer.shape.sharedGate && !has(LaunchKind::Router))
      return makeError(Code::InvalidModel, "a shared expert's gate needs the router's kernels");
    return {};
  }

  CudaKernelLoader &loader;
  const Package &package;
  const LayerPackage &layer;
  std::shared_ptr<CudaKernels> bound;
  std::vector<LaunchKind> seen;
};

Result<std::shared_ptr<const CudaKernels>> CudaKernelLoader::load(const Package &package, const LayerPackage &layer) {
  BackgroundScope scope(*driver);
  if (!scope.status().ok())
    return scope.status();
  Result<std::shared_ptr<const CudaKernels>> bound = Binder(*this, package, layer).run();
  if (!bound)
    return bound.status().withContext("layer {}", layer.layer);
  return bound;
}

} // namespace moec
