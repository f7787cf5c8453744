// The loop itself: watches routing, decides, builds in the background, swaps, measures, keeps or
// rolls back.
#pragma once

#include "compiler/core/Profile.h"
#include "compiler/core/ThreadSafety.h"
#include "runtime/monitor/Monitor.h"
#include "runtime/monitor/Window.h"
#include "runtime/recompile/GenerationHost.h"
#include "runtime/recompile/Measurement.h"
#include "runtime/recompile/Policy.h"
#include "runtime/trace/DecisionTrace.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace moec {

struct RecompilerOptions {
  LoopMode mode = LoopMode::Auto;
  PolicyConfig policy;
  PolicyHooks hooks;
  std::vector<uint32_t> layers; // to watch; at least one
  Profile profile;              // what the live generation was planned for
  uint64_t liveGeneration = 0;
  std::vector<std::string> knownConfigs; // of kernels in the cache: changing to them is a reuse

  uint32_t windowSteps = 32;
  int64_t windowAgeNs = 2'000'000'000;        // a window closes then, however few steps it has
  int64_t periodNs = 50'000'000;              // of the background thread
  int64_t buildDeadlineNs = 60'000'000'000;   // a build that takes longer is cancelled
  uint32_t measurePairs = 48;                 // pairs of alternating steps, per changed layer
  int64_t measureDeadlineNs = 30'000'000'000; // then what has been measured counts
  uint32_t monitorSlots = 64;                 // samples per layer that wait for the background thread
  int niceness = 10;                          // of the background thread, and so of compiles
  /// A build beside steps on CPUs runs in the system's idle class this long, then at `niceness`; 0: never idle. Beside
  /// steps on GPUs it never does: they leave processors free, but share the driver's locks with it.
  int64_t idlePatienceNs = 30'000'000'000;

  /// Nanoseconds of a steady clock, asked by the loop's thread and a build's at a time. A test hands in its own.
  std::function<int64_t()> clock;
  /// Hears each event as it happens, on the loop's thread (a live display, metrics). Counts arrive while the session
  /// builds: what asks the session for more then waits for that.
  std::function<void(const TraceEvent &)> listener;
};

/// Readable at any time, from any thread.
struct RecompilerStats {
  uint64_t samples = 0, skippedSamples = 0, windows = 0, decisions = 0;
  uint64_t changes = 0; // generations that went live
  uint64_t kept = 0, rolledBack = 0, failedBuilds = 0, droppedTraceLines = 0;
  uint64_t liveGeneration = 0;
  int64_t pendingAgeNs = 0; // since the decision that is being built or measured; 0 when there is none
};

/// Calls its host from one thread at a time: the one that `start` begins, or whoever calls `pump`; builds from a thread
/// of their own, beside which samples are still collected. Steps never wait for any of them.
///
/// A session hands `monitor().observer()` its steps, and must stop doing so before the recompiler
/// goes.
class Recompiler {
public:
  /// The policy's setup as the host stands now; the trace's header is made from it.
  static PolicySetup setupOf(const GenerationHost &host, const RecompilerOptions &options);

  /// `traceSink` and `routingSink` (may be null) get the decision trace's and the routing trace's
  /// lines; both, and `host`, must outlive this.
  Recompiler(GenerationHost &host, RecompilerOptions options, LineSink *traceSink = nullptr,
             LineSink *routingSink = nullptr);
  ~Recompiler();

  Monitor &monitor() { return steps; }

  /// Starts the background thread. Errors: ResourceExhausted (no thread).
  Status start();
  /// Stops it: a build is cancelled, a comparison ends with the newer generation live. Idempotent.
  void stop();

  /// Does once what the thread does every period: drain, decide, build and swap, finish a
  /// measurement. The only way to drive the loop without `start`; a build makes it take as long as
  /// the build.
  void pump();
  /// Asks for the best change that gains more than the margin, at the next pump: what manual mode
  /// waits for.
  void request();

  RecompilerStats stats() const;
  /// A change is being built or measured.
  bool busy() const { return pendingSince.load(std::memory_order_relaxed) != 0; }

private:
  void run();
  int64_t now() const { return clock() - startNs; }
  PolicyHooks recorded(PolicyHooks hooks);
  void emit(const TraceEvent &event) MOEC_REQUIRES(loop);
  void drain() MOEC_REQUIRES(loop);
  /// Hands the windows that are complete to the policy and the trace.
  void observe() MOEC_REQUIRES(loop);
  void decide(bool requested) MOEC_REQUIRES(loop);
  void change() MOEC_REQUIRES(loop);
  Result<BuildReport> build() MOEC_REQUIRES(loop);
  void swap(uint64_t generation) MOEC_REQUIRES(loop);
  void finishMeasurement() MOEC_REQUIRES(loop);
  void rollBack(uint64_t generation, uint64_t to) MOEC_REQUIRES(loop);
  bool retryRollback() MOEC_REQUIRES(loop);
  void failed(Code code, const std::string &message) MOEC_REQUIRES(loop);

  GenerationHost &host;
  const RecompilerOptions options;
  const std::function<int64_t()> clock;
  const int64_t startNs;
  Monitor steps;

  Mutex loop;
  Policy policy MOEC_GUARDED_BY(loop);
  WindowBuilder windows MOEC_GUARDED_BY(loop);
  DecisionTrace trace MOEC_GUARDED_BY(loop);
  RoutingTrace routing MOEC_GUARDED_BY(loop);
  bool traceRouting = false;
  std::optional<Measurement> measurement MOEC_GUARDED_BY(loop);
  int64_t measureUntilNs MOEC_GUARDED_BY(loop) = 0;
  uint64_t live MOEC_GUARDED_BY(loop) = 0;
  struct Rollback {
    uint64_t generation = 0, to = 0;
  };
  std::optional<Rollback> rollback MOEC_GUARDED_BY(loop); // that the host refused so far
  std::vector<HookEvent> answers MOEC_GUARDED_BY(loop);   // of the user's hooks, in this tick

  Mutex wakeMutex;
  std::condition_variable_any wake;
  std::atomic<bool> stopping{false}, requested{false};
  std::atomic<int64_t> pendingSince{0}; // 0: nothing pending
  std::atomic<uint64_t> samples{0}, windowCount{0}, decisions{0}, changes{0}, kept{0}, rolledBack{0}, failedBuilds{0},
      droppedLines{0}, liveNow{0};
  std::thread thread;
  bool ended = false;
};

} // namespace moec
