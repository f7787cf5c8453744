#include "runtime/device/cuda/GraphRunner.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace moec {

Result<std::unique_ptr<GraphRunner>> GraphRunner::make(Session &session, std::shared_ptr<const CudaDriver> driver,
                                                       std::vector<uint32_t> tokens, Record record) {
  std::unique_ptr<GraphRunner> runner(new GraphRunner(session, driver, std::move(record)));
  std::sort(tokens.begin(), tokens.end());
  for (uint32_t size : tokens) {
    runner->buckets.push_back(std::make_unique<Bucket>());
    runner->buckets.back()->tokens = size;
  }
  {
    BackgroundScope scope(*driver);
    MOEC_TRY(scope.status());
    Lock lock(runner->refreshing);
    Result<CudaStream> stream = makeStream(driver);
    MOEC_TRY(stream.status());
    runner->stream = std::move(*stream);
  }
  Result<uint32_t> captured = runner->refresh();
  MOEC_TRY(captured.status());
  return runner;
}

GraphRunner::~GraphRunner() = default; // the driver frees a graph in flight when it is done

Status GraphRunner::launch(uint32_t tokens, CUstream on) {
  const auto fits = [&](const std::unique_ptr<Bucket> &bucket) { return bucket->tokens >= tokens; };
  const auto found = std::find_if(buckets.begin(), buckets.end(), fits);
  if (found == buckets.end())
    return makeError(Code::ResourceExhausted, "a step of {} tokens is larger than every bucket", tokens);
  Bucket &bucket = **found;
  // A hazard pointer, as steps pin generations (runtime/Generation.h).
  const Choice *choice = bucket.current.load(std::memory_order_seq_cst);
  while (true) {
    bucket.launching.store(choice, std::memory_order_seq_cst);
    const Choice *again = bucket.current.load(std::memory_order_seq_cst);
    if (again == choice)
      break;
    choice = again;
  }
  const Graph *graph = choice->graphs[choice->graphs[1] ? bucket.turn++ % 2 : 0];
  ContextScope scope(*driver);
  const CUresult result = driver->api().cuGraphLaunchFn(graph->exec.get(), on);
  bucket.launching.store(nullptr, std::memory_order_release);
  return result == CUDA_SUCCESS
             ? Status()
             : driver->error(result, "cuGraphLaunch", fmt::format("a step of {} tokens", bucket.tokens));
}

void GraphRunner::show(Bucket &bucket, const std::vector<uint64_t> &generations) {
  auto choice = std::make_unique<Choice>();
  for (size_t i = 0; i < generations.size(); ++i)
    choice->graphs[i] = bucket.graphs.at(generations[i]).get();
  if (!bucket.choice || !std::equal(std::begin(choice->graphs), std::end(choice->graphs), bucket.choice->graphs)) {
    bucket.current.store(choice.get(), std::memory_order_seq_cst);
    while (bucket.choice && bucket.launching.load(std::memory_order_seq_cst) == bucket.choice.get())
      std::this_thread::sleep_for(std::chrono::microseconds(20)); // a launch takes some microseconds
    bucket.choice = std::move(choice);
  }
  std::erase_if(bucket.graphs, [&](const auto &entry) {
    return std::find(generations.begin(), generations.end(), entry.first) == generations.end();
  });
}

Result<uint32_t> GraphRunner::refresh() {
  BackgroundScope scope(*driver);
  MOEC_TRY(scope.status());
  Lock lock(refreshing);
  std::vector<uint64_t> wanted = {session.liveGeneration()};
  if (std::optional<uint64_t> other = session.alternateGeneration(); other && *other != wanted[0])
    wanted.push_back(*other);
  uint32_t captured = 0;
  for (const std::unique_ptr<Bucket> &bucket : buckets)
    // One generation after the other: where both are new, the old ones' buffers are what the second is captured in.
    for (size_t count = 1; count <= wanted.size(); ++count) {
      const uint64_t generation = wanted[count - 1];
      const bool isKnown = bucket->graphs.contains(generation);
      if (!isKnown) {
        Result<std::unique_ptr<Graph>> made = capture(bucket->tokens, generation);
        if (!made)
          return made.status().withContext("capturing a step of {} tokens", bucket->tokens);
        bucket->graphs[generation] = std::move(*made);
        ++captured;
      }
      // What stays is not shown alone in between: its partner would be captured anew.
      if (count == wanted.size() || !bucket->graphs.contains(wanted.back()))
        show(*bucket, {wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(count)});
    }
  return captured;
}

/// Takes the step, so that it ends before the capture does.
Status GraphRunner::fill(Step step, uint32_t tokens) { return record(step, tokens); }

Result<std::unique_ptr<GraphRunner::Graph>> GraphRunner::capture(uint32_t tokens, uint64_t generation) {
  const CudaApi &api = driver->api();
  MOEC_CUDA(*driver, cuStreamBeginCapture, (stream.get(), CU_STREAM_CAPTURE_MODE_RELAXED), "beginning a capture");
  Result<Step> step = session.begin({.tokens = tokens, .generation = generation, .stream = stream.get()});
  Status status = step ? fill(std::move(*step), tokens) : step.status();
  CUgraph recorded = nullptr;
  const CUresult ended = api.cuStreamEndCaptureFn(stream.get(), &recorded);
  const CudaHandle<CUgraph, &CudaApi::cuGraphDestroyFn> graph(driver, recorded);
  MOEC_TRY(status);
  if (ended != CUDA_SUCCESS)
    return driver->error(ended, "cuStreamEndCapture", "ending a capture");
  CUgraphExec exec = nullptr;
  MOEC_CUDA(*driver, cuGraphInstantiateWithFlags, (&exec, graph.get(), 0), "making a graph ready");
  auto made = std::make_unique<Graph>();
  made->generation = generation;
  made->exec = CudaHandle<CUgraphExec, &CudaApi::cuGraphExecDestroyFn>(driver, exec);
  MOEC_CUDA(*driver, cuGraphUpload, (exec, stream.get()),
            "bringing a graph to the device"); // else the first launch does
  return made;
}

} // namespace moec
