// A step as CUDA graphs, one for each bucket of tokens, captured anew in the background whenever generations change.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/Session.h"
#include "runtime/device/cuda/Driver.h"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace moec {

/// Launching takes one lock-free look-up and cuGraphLaunch. A graph runs on the generation that it was captured on;
/// while two generations are compared, every second launch of a bucket takes the other one's.
///
/// `launch` is for one thread at a time, `refresh` for another. Both buffers' addresses and launch streams are the
/// caller's: what `record` captured is what runs. A launch begins when the one before it on its stream is done, and
/// graphs of one bucket share no buffers with each other.
class GraphRunner {
public:
  /// Queues all forwards of a step of `tokens` tokens; called while its stream is being captured, from `make` and
  /// `refresh`.
  using Record = std::function<Status(Step &step, uint32_t tokens)>;

  /// Captures every bucket on the live generation. `session` must outlive this, and have been opened on `device` with
  /// at least three maxGraphs a bucket (live, compared, being captured). Errors: those of Session::begin and `record`,
  /// and the driver's.
  static Result<std::unique_ptr<GraphRunner>> make(Session &session, std::shared_ptr<const CudaDriver> driver,
                                                   std::vector<uint32_t> buckets, Record record);
  /// Does not wait: launches must be done, as far as the caller's streams know, before buffers that they use go, and a
  /// session's own go with it where it has a DeviceAllocator (the driver's free waits).
  ~GraphRunner();

  /// Queues the graph of the smallest bucket that holds `tokens`. Errors: ResourceExhausted (none does), the driver's.
  Status launch(uint32_t tokens, CUstream stream);

  /// Captures what the session's generations have become since the last call, and lets go of what they are not any
  /// more. Never waits for the device. Returns the number of graphs captured.
  Result<uint32_t> refresh() MOEC_EXCLUDES(refreshing);

private:
  struct Graph {
    uint64_t generation = 0;
    CudaHandle<CUgraphExec, &CudaApi::cuGraphExecDestroyFn> exec;
  };
  /// What a bucket launches: one graph, or two in turn.
  struct Choice {
    const Graph *graphs[2] = {};
  };
  struct Bucket {
    uint32_t tokens = 0;
    std::atomic<const Choice *> current{nullptr};
    std::atomic<const Choice *> launching{nullptr}; // that a launch is looking at
    uint32_t turn = 0;
    std::map<uint64_t, std::unique_ptr<Graph>> graphs; // by generation
    std::unique_ptr<Choice> choice;
  };

  GraphRunner(Session &session, std::shared_ptr<const CudaDriver> driver, Record record)
      : session(session), driver(std::move(driver)), record(std::move(record)) {}
  /// Makes launches take these generations' graphs, in turn, and lets go of all others once none does.
  void show(Bucket &bucket, const std::vector<uint64_t> &generations) MOEC_REQUIRES(refreshing);
  Result<std::unique_ptr<Graph>> capture(uint32_t tokens, uint64_t generation) MOEC_REQUIRES(refreshing);
  Status fill(Step step, uint32_t tokens);

  Session &session;
  std::shared_ptr<const CudaDriver> driver;
  const Record record;
  std::vector<std::unique_ptr<Bucket>> buckets; // by ascending tokens
  Mutex refreshing;
  CudaStream stream MOEC_GUARDED_BY(refreshing); // captured, never run
};

} // namespace moec
