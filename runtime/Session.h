// The embedded API: a session serves one model on one device.
#pragma once

#include "runtime/ForwardLog.h"
#include "runtime/Model.h"
#include "runtime/NonFinite.h"
#include "runtime/Observation.h"
#include "runtime/PackBudget.h"
#include "runtime/Step.h"
#include "runtime/device/cpu/Image.h"
#include "runtime/device/cuda/Allocator.h"
#include "runtime/device/cuda/LaunchWatch.h"
#include "runtime/recompile/GenerationHost.h"
#include "runtime/weights/WeightSource.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace moec {

struct CudaApi;

/// Who may recompile, and when. `Auto` and `Manual` differ in who calls the host: the loop, or the user.
enum class Mode : uint8_t {
  Auto,
  Manual,
  Off,           // stays on generation 0; GenerationHost::build fails
  Strict,        // never compiles: what is not in the cache or the package is CompileForbidden
  Deterministic, // bit-exact across swaps; every mode is
};

/// Where the numbers that plans are made with come from.
enum class CalibrationSource : uint8_t {
  Once,    // from the cache; measured and put there if it has none; assumed without a cache or in strict mode
  Assumed, // round figures
  Measure, // measured anew, and put into the cache if there is one
};

struct SessionOptions {
  std::string device = "cpu"; // as --target takes it; cuda or cuda:N: a GPU of this machine
  uint32_t maxTokens = 1024;  // of a step
  uint32_t maxSteps = 2;      // in flight at once
  uint32_t threads = 0;       // of one step; 0: as many as there are processors
  Mode mode = Mode::Auto;
  PackBudget packBudget = {};
  std::string weights = {};                              // as openWeights takes it; empty: the model's folder
  std::shared_ptr<const WeightSource> weightSource = {}; // instead of `weights`
  std::vector<uint32_t> layers = {};                     // by number; empty: all
  uint32_t plannedTokens = 256;                          // of the step that generation 0 is planned for
  PlanLimits limits = {};                                // packBudgetBytes is taken from `packBudget`
  CalibrationSource calibrationSource = CalibrationSource::Once;
  std::optional<Calibration> calibration = {}; // instead of `calibrationSource`
  NonFinitePolicy nonFinite = NonFinitePolicy::Mask;
  unsigned spinMicroseconds = 50; // ThreadPool::Options
  StepObserver observer = {};     // may also be set later
  ImageLoader imageLoader = loadSharedObject;

  // On a GPU:
  uint32_t maxGraphs = 0;         // captured steps whose graphs exist at once; each has buffers of its own
  uint32_t maxGraphTokens = 256;  // of a captured step
  bool timeGraphs = true;         // captured forwards are timed, each by two nodes of its graph: about 2 us
  DeviceAllocator allocator = {}; // where device memory comes from; empty: the driver
  std::shared_ptr<LaunchWatch> launchWatch = {}; // told of every kernel of a forward; null: nobody
  std::shared_ptr<const CudaApi> cudaApi = {};   // the driver's functions; null: libcuda.so.1, opened at run time
};

struct StepOptions {
  uint32_t tokens = 0;
  Phase phase = Phase::Decode;
  std::optional<uint64_t> generation = {}; // to run on this one instead of the live one; takes a lock
  void *stream = nullptr; // on a GPU: the CUstream that the step's kernels are queued on; of no meaning on a CPU
};

class SessionState;
struct HostBridge;

/// One model on one device. Movable; all of it but `setObserver` is thread-safe. Must outlive its steps.
class Session {
public:
  /// Plans, compiles (or finds in the cache), loads and packs generation 0, and makes every buffer that a step needs.
  ///
  /// Errors: InvalidArgument (an option, named; a layer that the model has not), DeviceMissing, InvalidModel (weights
  /// that do not fit the description), CompileFailed, CompileForbidden (strict), ResourceExhausted.
  static Result<Session> open(std::shared_ptr<const Model> model, SessionOptions options = {});
  Session(Session &&) noexcept;
  Session &operator=(Session &&) noexcept;
  ~Session();

  /// Pins the live generation for a step. Lock-free; allocates nothing.
  ///
  /// On a GPU a step whose stream is being captured belongs to the graph: its generation and its buffers (one of
  /// maxGraphs) stay until the graph and all that was instantiated from it are destroyed. The session must outlive
  /// them.
  ///
  /// Errors: ResourceExhausted (more tokens than maxTokens, or maxSteps steps in flight; captured: maxGraphTokens,
  /// maxGraphs), and the driver's.
  Result<Step> begin(StepOptions step);

  /// What the recompilation loop drives.
  GenerationHost &host();
  /// Numbers of the layers that are open, ascending.
  const std::vector<uint32_t> &layers() const;
  uint64_t liveGeneration() const;
  /// The generation that every second step runs on while two are compared.
  std::optional<uint64_t> alternateGeneration() const;
  SessionStats stats() const;
  /// Bytes that layer `layer`'s plans may pack.
  PlanLimits limits(uint32_t layer) const;
  /// Waits until the device is done with all steps, and their samples have been observed. Not for the step path.
  void finish();
  /// What opening built and how long its parts took.
  const BuildReport &opened() const;
  /// Experts per token of an open layer; 0 for another.
  uint32_t topK(uint32_t layer) const;
  /// For HostRunner.
  Result<std::unique_ptr<HostBridge>> bridge();
  /// Called after each forward; on a GPU from a thread of the session, once the counts have arrived. Not while a step
  /// is in flight on a CPU.
  void setObserver(StepObserver observer);

private:
  explicit Session(std::unique_ptr<SessionState> state);
  std::unique_ptr<SessionState> state;
};

} // namespace moec
