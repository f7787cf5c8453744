// One layer's kernels on a GPU, loaded and checked: what a forward launches.
#pragma once

#include "compiler/core/CudaLaunch.h"
#include "runtime/device/Device.h"
#include "runtime/device/cuda/Driver.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace moec {

/// A loaded cubin. Functions live as long as it does.
struct CudaImage {
  CudaLibrary library;
};

struct CudaKernel {
  CUfunction function = nullptr;
  uint32_t threads = 0;
  uint32_t sharedBytes = 0; // dynamic
};

/// The router's product in one tile, for steps of up to `maxTokens`.
struct CudaRouter {
  CudaKernel kernel;
  uint32_t maxTokens = 0, tileTokens = 0, tileExperts = 0;
};

/// A grouped or dense product.
struct CudaProduct {
  CudaKernel kernel;
  GemmFamily family = GemmFamily::Portable;
  GemmConfig config{};
  uint32_t k = 0, n = 0; // length of the sum; columns of the output

  CudaKernel quantising{}; // the form for few tokens, where the package has it (hasQuantisingForm)

  /// Whether its outputs are quantised rows. (Another family's config may look like one whose are.)
  bool quantisesOutputs() const { return family == GemmFamily::Fp8 && givesQuantised(config); }
};

/// Immutable; shared by all generations that run this config.
struct CudaKernels final : LoadedKernels {
  CudaConfig config;
  std::vector<CudaRouter> router; // from few tokens to many; empty where routing is always the caller's
  CudaKernel route;
  CudaKernel dispatchOneBlock, dispatchCount, dispatchScan, dispatchPlace, dispatchGrid;
  std::optional<CudaKernel> dispatchCluster; // where the target has clusters
  CudaProduct gateUp, down;
  std::optional<CudaKernel> gateUpFew; // in place of quantise and gate-up where tokens are few (hasGateUpFew)
  std::optional<CudaKernel> downFew;   // in place of down and combine, likewise (hasDownFew)
  std::optional<CudaProduct> sharedGateUp, sharedDown;
  CudaKernel quantise; // where gateUp.family is Fp8
  CudaKernel combine;
  std::vector<std::shared_ptr<const CudaImage>> images; // keeps the functions loaded
};

/// Loads cubins and finds functions in them. Used by one thread at a time.
class CudaKernelLoader {
public:
  explicit CudaKernelLoader(std::shared_ptr<const CudaDriver> driver) : driver(std::move(driver)) {}

  /// Resolves a package layer's kernels and makes them ready to launch: code is brought to the device now, not at the
  /// first launch, which would wait for the device.
  ///
  /// Errors: InvalidModel (a launch that is missing, or has not the kernels that Package.h says), and the driver's.
  Result<std::shared_ptr<const CudaKernels>> load(const Package &package, const LayerPackage &layer);

private:
  class Binder;
  Result<std::shared_ptr<const CudaImage>> image(const Image &image);

  std::shared_ptr<const CudaDriver> driver;
  std::map<std::string, std::weak_ptr<const CudaImage>> images; // by key text
};

} // namespace moec
