// What the recompilation loop asks of a session: the loop decides, the session builds and swaps.
#pragma once

#include "compiler/core/Plan.h"
#include "compiler/core/Status.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace moec {

/// What a generation costs and brings to build: filled while it is built, written to the trace.
struct BuildReport {
  uint64_t generation = 0;
  uint32_t kernelsBuilt = 0; // by this build; 0 when every kernel existed (reuse)
  bool cacheHit = false;     // the package came from the cache
  double compileMs = 0;      // passes, code generation, link; 0 for a re-table
  double packMs = 0;         // packing newly hot experts' weights; on a CPU, as validateMs, processor time
  double loadMs = 0;
  double validateMs = 0;
  double validateError = 0; // relative L2 distance to generation 0 on the validation input
  uint64_t packedBytes = 0; // packed weights that the generation holds
};

/// What building has cost this host so far, for the loop to weigh its first change by. 0: not known.
struct BuildCosts {
  double compileMs = 0, loadMs = 0, validateMs = 0; // of one layer
  double packNsPerByte = 0;                         // on one thread, as builds beside steps pack
};

/// Implemented by Session. All calls come from threads of the loop, one at a time (builds have a thread of their own);
/// steps go on meanwhile.
class GenerationHost {
public:
  virtual ~GenerationHost() = default;

  virtual LayerShape layerShape(uint32_t layer) const = 0;
  virtual TargetFacts facts() const = 0;
  virtual Calibration calibration() const = 0;
  /// What a plan of this layer may spend; `build` refuses plans that spend more.
  virtual PlanLimits limits(uint32_t layer) const = 0;
  virtual BuildCosts costs() const { return {}; }
  /// The live generation's plan of a layer, and the config of generation 0.
  virtual LayerPlan livePlan(uint32_t layer) const = 0;
  virtual LayerConfig genericConfig(uint32_t layer) const = 0;

  /// Builds a generation in which the named layers have these plans and all others stay (they are shared, not copied).
  /// Compiles what is missing, packs, loads, validates against generation 0. Nothing goes live.
  /// Errors: InvalidArgument (a plan that does not fit the layer, or spends more than its limits), CompileFailed,
  /// CompileForbidden (strict), VerificationMismatch, ResourceExhausted, Cancelled.
  virtual Result<BuildReport> build(const std::map<uint32_t, LayerPlan> &plans,
                                    const std::map<uint32_t, Histogram> &plannedFor,
                                    const std::function<bool()> &cancelled) = 0;
  /// Makes a built generation live at the next step boundary: one atomic pointer.
  virtual Status publish(uint64_t generation) = 0;
  /// Forgets a built or superseded generation once no step uses it.
  virtual void retire(uint64_t generation) = 0;
  /// While on, steps take `challenger` and `incumbent` (both built) in turn, so that their times can be compared on the
  /// same traffic; off leaves the live generation to all.
  virtual Status alternate(uint64_t incumbent, uint64_t challenger, bool on) = 0;
};

} // namespace moec
