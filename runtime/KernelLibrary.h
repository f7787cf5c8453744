// The kernels that a session has loaded, by layer and config: what lets a returning config be reused.
#pragma once

#include "compiler/core/CompileRequest.h"
#include "runtime/Compiler.h"
#include "runtime/Model.h"
#include "runtime/device/Device.h"
#include "runtime/recompile/GenerationHost.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace moec {

/// Finds, compiles and loads kernels. Used by one thread at a time.
class KernelLibrary {
public:
  /// What every request of this session has in common.
  struct Context {
    std::shared_ptr<const Model> model;
    TargetFacts facts;
    PlanLimits limits;
    uint32_t plannedTokens = 256;
  };

  /// `device` loads; it must outlive this.
  KernelLibrary(Context context, Device &device) : context(std::move(context)), device(device) {}

  /// Whether kernels compiled for `compiled` run on `facts`.
  static bool runsOn(const TargetFacts &compiled, const TargetFacts &facts);

  /// The calibration that covers, and from now on requests, are made with.
  void setCalibration(const Calibration &measured) { calibration = measured; }

  /// Makes the kernels of these configs available: those that are loaded already are kept, those of the model's own
  /// package are loaded, the rest is one compile request. Fills kernelsBuilt, cacheHit, compileMs and loadMs.
  ///
  /// The request says nothing that kernels don't depend on, so that every table and pack budget finds them in the
  /// cache.
  ///
  /// Errors: those of Compiler::compile and Device::load.
  Status require(const std::map<uint32_t, LayerConfig> &configs, CompilePolicy policy,
                 const std::function<bool()> &cancelled, BuildReport &report);
  /// Brings the packages of several configs of one layer into the cache, several at a time as far as the compiler's
  /// options allow; without a cache does nothing. Errors: those of Compiler::compile.
  Status compileAhead(uint32_t layer, const std::vector<LayerConfig> &configs, CompilePolicy policy) const;
  /// Lets go of all kernels that no generation holds.
  void forget();
  /// Null unless `require` made them available.
  std::shared_ptr<const LoadedKernels> find(uint32_t layer, const LayerConfig &config) const;

private:
  using Name = std::pair<uint32_t, std::string>; // layer, config text

  Status addFrom(const Package &package, const std::map<uint32_t, LayerConfig> &configs);
  CompileRequest requestFor(const std::map<uint32_t, LayerConfig> &configs) const;
  Result<CompiledPackage> compiledFor(const std::map<uint32_t, LayerConfig> &configs, CompilePolicy policy,
                                      const std::function<bool()> &cancelled) const;
  /// Forgets kernels that no generation holds and `wanted` does not name, once there are many: those wanted longest ago
  /// first.
  void forgetUnused(const std::map<uint32_t, LayerConfig> &wanted);

  Context context;
  Device &device;
  Calibration calibration;
  struct Kept {
    std::shared_ptr<const LoadedKernels> kernels;
    uint64_t lastWanted = 0; // by which call of `require`
  };
  std::map<Name, Kept> kept;
  uint64_t calls = 0; // of `require`
};

} // namespace moec
