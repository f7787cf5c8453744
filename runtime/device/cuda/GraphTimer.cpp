#include "runtime/device/cuda/GraphTimer.h"

namespace moec {

Result<GraphTimer> GraphTimer::make(std::shared_ptr<const CudaDriver> driver, CUstream stream) {
  GraphTimer timer(driver, stream);
  for (CudaEvent *event : {&timer.begin, &timer.end}) {
    Result<CudaEvent> made = makeEvent(driver, true);
    MOEC_TRY(made.status());
    *event = std::move(*made);
  }
  return timer;
}

Result<std::vector<double>> GraphTimer::replays(const std::function<Status()> &queue, uint32_t warmUps,
                                                uint32_t repeats) const {
  MOEC_CUDA(*driver, cuStreamBeginCapture, (stream, CU_STREAM_CAPTURE_MODE_RELAXED), "beginning a capture");
  const Status queued = queue();
  CUgraph recorded = nullptr; // ends the capture whether or not all was queued
  MOEC_CUDA(*driver, cuStreamEndCapture, (stream, &recorded), "ending a capture");
  const CudaHandle<CUgraph, &CudaApi::cuGraphDestroyFn> graph(driver, recorded);
  MOEC_TRY(queued);
  CUgraphExec made = nullptr;
  MOEC_CUDA(*driver, cuGraphInstantiateWithFlags, (&made, graph.get(), 0), "making a graph ready");
  const CudaHandle<CUgraphExec, &CudaApi::cuGraphExecDestroyFn> exec(driver, made);
  const auto launch = [&]() -> Status {
    MOEC_CUDA(*driver, cuGraphLaunch, (exec.get(), stream), "launching a graph");
    return {};
  };
  return runs(launch, warmUps, repeats);
}

Result<std::vector<double>> GraphTimer::runs(const std::function<Status()> &queue, uint32_t warmUps,
                                             uint32_t repeats) const {
  std::vector<double> ns;
  for (uint32_t run = 0; run < warmUps + repeats; ++run) {
    MOEC_CUDA(*driver, cuEventRecord, (begin.get(), stream), "before a timed run");
    MOEC_TRY(queue());
    MOEC_CUDA(*driver, cuEventRecord, (end.get(), stream), "after a timed run");
    MOEC_TRY(waitFor(*driver, end.get()));
    float milliseconds = 0;
    MOEC_CUDA(*driver, cuEventElapsedTime, (&milliseconds, begin.get(), end.get()), "the time of a run");
    if (run >= warmUps)
      ns.push_back(1e6 * static_cast<double>(milliseconds));
  }
  return ns;
}

} // namespace moec
