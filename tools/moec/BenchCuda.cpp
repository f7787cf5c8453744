// `moec bench` on a GPU: a row of device times per token count, by events, of graphs and of a stream.
#include "tools/moec/BenchSession.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

#if defined(MOEC_WITH_CUDA)
#include "runtime/device/cuda/Memory.h"

namespace moec::tool {
namespace {

// Each draw hits other experts, so that weights come from memory and not from the second-level cache.
constexpr uint32_t numDraws = 8;

struct Times {
  double us = 0, low = 0, high = 0; // median of one layer's forward, its 95 % interval
};

struct Row {
  uint32_t tokens = 0;
  double experts = 0; // hit in a step, on average
  Times graph, stream, routed; // routing given, in a graph and launch by launch; the model's router, in a graph
  double floorUs = 0, teraflops = 0, gigabytes = 0; // rates of the graph's time
};

/// A layer's least time: its bytes at the memory's rate or its arithmetic at the matrix units', whichever is longer.
struct Work {
  double bytes = 0, flops = 0;

  Work(const LayerShape &shape, uint32_t tokens, double experts) {
    const double columns = experts * shape.intermediate + shape.sharedIntermediate;
    bytes = 2.0 * shape.hidden * (3 * columns + 2.0 * tokens);
    flops = 6.0 * shape.hidden * tokens * (double{1} * shape.topK * shape.intermediate + shape.sharedIntermediate);
  }
  double floorUs(const GpuFacts &gpu) const {
    return std::max(bytes / gpu.memoryBytesPerNs, flops / gpu.matrixFlopsPerNs) / 1e3;
  }
};

class CudaTable {
public:
  CudaTable(BenchSession &bench, std::shared_ptr<CudaDriver> driver, uint32_t repeats)
      : bench(bench), driver(std::move(driver)), memory(this->driver, {}), repeats(20 * repeats) {}

  Result<Row> measure(const RoutingSpec &routing, uint32_t tokens) {
    ContextScope scope(*driver);
    MOEC_TRY(scope.status());
    Row row;
    row.tokens = tokens;
    MOEC_TRY(prepare(routing, tokens, row.experts));
    MOEC_TRY(timeGraph(tokens, false, row.graph));
    MOEC_TRY(timeStream(tokens, row.stream));
    MOEC_TRY(timeGraph(tokens, true, row.routed));
    const Work work(bench.shape, tokens, row.experts);
    row.floorUs = work.floorUs(bench.facts.gpu);
    row.teraflops = work.flops / row.graph.us / 1e6;
    row.gigabytes = work.bytes / row.graph.us / 1e3;
    return row;
  }

private:
  Status prepare(const RoutingSpec &routing, uint32_t tokens, double &experts) {
    for (CudaEvent *event : {&begin, &end}) {
      Result<CudaEvent> made = makeEvent(driver, true);
      MOEC_TRY(made.status());
      *event = std::move(*made);
    }
    for (uint32_t draw = 0; draw < numDraws; ++draw) {
      const RoutedStep step = drawStep(routing, tokens, bench.shape.topK, bench.shape.experts, 1 + draw, draw);
      experts += static_cast<double>(std::set<int32_t>(step.ids.begin(), step.ids.end()).size()) / numDraws;
      MOEC_TRY(upload(step.ids.data(), step.ids.size() * 4, ids[draw]));
      MOEC_TRY(upload(step.weights.data(), step.weights.size() * 4, weights[draw]));
    }
    return bench.bridge->wait();
  }

  Status upload(const void *from, uint64_t bytes, DeviceBuffer &to) {
    Result<DeviceBuffer> made = memory.allocate(bytes, "routing");
    MOEC_TRY(made.status());
    to = std::move(*made);
    MOEC_CUDA(*driver, cuMemcpyHtoDAsync, (to.address(), from, bytes, stream()), "routing");
    return bench.bridge->wait();
  }

  CUstream stream() const { return static_cast<CUstream>(bench.bridge->stream()); }

  /// All draws through all layers.
  Status queue(uint32_t tokens, bool ownRouting) {
    Result<Step> step = bench.session->begin({.tokens = tokens,
                                              .phase = tokens > 64 ? Phase::Prefill : Phase::Decode,
                                              .generation = std::nullopt,
                                              .stream = stream()});
    MOEC_TRY(step.status());
    const ConstTensorView in{bench.hiddenOnDevice, bench.shape.dtype, tokens, bench.shape.hidden};
    const TensorView out{bench.outputOnDevice, bench.shape.dtype, tokens, bench.shape.hidden};
    for (uint32_t draw = 0; draw < numDraws; ++draw)
      for (uint32_t layer : bench.session->layers())
        MOEC_TRY(ownRouting ? step->layer(layer).forward(in, out)
                            : step->layer(layer).forward(in, ids[draw].as<int32_t>(), weights[draw].as<float>(), out));
    return {};
  }

  Status timeStream(uint32_t tokens, Times &times) {
    return time(times, [&] { return queue(tokens, false); });
  }

  Status timeGraph(uint32_t tokens, bool ownRouting, Times &times) {
    MOEC_CUDA(*driver, cuStreamBeginCapture, (stream(), CU_STREAM_CAPTURE_MODE_RELAXED), "beginning a capture");
    const Status queued = queue(tokens, ownRouting);
    CUgraph recorded = nullptr;
    MOEC_CUDA(*driver, cuStreamEndCapture, (stream(), &recorded), "ending a capture");
    const CudaHandle<CUgraph, &CudaApi::cuGraphDestroyFn> graph(driver, recorded);
    MOEC_TRY(queued);
    CUgraphExec made = nullptr;
    MOEC_CUDA(*driver, cuGraphInstantiateWithFlags, (&made, graph.get(), 0), "making a graph ready");
    const CudaHandle<CUgraphExec, &CudaApi::cuGraphExecDestroyFn> exec(driver, made);
    return time(times, [&]() -> Status {
      MOEC_CUDA(*driver, cuGraphLaunch, (exec.get(), stream()), "launching a graph");
      return {};
    });
  }

  /// Microseconds of one forward, of `repeats` runs of `queued` after some that warm up.
  template <typename Queue> Status time(Times &times, Queue queued) {
    constexpr uint32_t warmUp = 5;
    std::vector<double> us;
    const double forwards = static_cast<double>(numDraws) * static_cast<double>(bench.session->layers().size());
    for (uint32_t i = 0; i < warmUp + repeats; ++i) {
      MOEC_CUDA(*driver, cuEventRecord, (begin.get(), stream()), "before a run");
      MOEC_TRY(queued());
      MOEC_CUDA(*driver, cuEventRecord, (end.get(), stream()), "after a run");
      MOEC_TRY(bench.bridge->wait());
      float milliseconds = 0;
      MOEC_CUDA(*driver, cuEventElapsedTime, (&milliseconds, begin.get(), end.get()), "the time of a run");
      if (i >= warmUp)
        us.push_back(1e3 * static_cast<double>(milliseconds) / forwards);
    }
    times.us = median(us);
    std::tie(times.low, times.high) = medianInterval(us);
    return {};
  }

  BenchSession &bench;
  std::shared_ptr<CudaDriver> driver;
  DeviceMemory memory;
  const uint32_t repeats;
  CudaEvent begin, end;
  DeviceBuffer ids[numDraws], weights[numDraws];
};

nlohmann::json jsonOf(const Row &row) {
  return {{"tokens", row.tokens},
          {"experts_hit", row.experts},
          {"graph_us", row.graph.us},
          {"graph_us_low", row.graph.low},
          {"graph_us_high", row.graph.high},
          {"stream_us", row.stream.us},
          {"own_routing_us", row.routed.us},
          {"floor_us", row.floorUs},
          {"share_of_floor", row.floorUs / row.graph.us},
          {"tflops", row.teraflops},
          {"gb_per_s", row.gigabytes}};
}

void printText(const BenchSession &bench, const BenchOptions &options, const std::vector<Row> &rows,
               const std::vector<std::string> &configs) {
  fmt::print("{}: H {} I {} E {} K {} {}, {} ({}), routing {}, {} layer(s); device time of a layer, medians\n",
             bench.model->name(), bench.shape.hidden, bench.shape.intermediate, bench.shape.experts, bench.shape.topK,
             dtypeName(bench.shape.dtype), bench.facts.gpu.model, bench.facts.arch, options.routing,
             bench.session->layers().size());
  fmt::print("{:>7} {:>8} {:>10} {:>18} {:>10} {:>10} {:>10} {:>7} {:>9} {:>9}\n", "tokens", "experts", "graph us",
             "95 % interval", "stream us", "routed us", "floor us", "share", "TFLOP/s", "GB/s");
  for (const Row &row : rows)
    fmt::print("{:>7} {:>8.1f} {:>10.2f} {:>18} {:>10.2f} {:>10.2f} {:>10.2f} {:>6.0f}% {:>9.1f} {:>9.0f}\n", row.tokens,
               row.experts, row.graph.us, fmt::format("{:.2f} .. {:.2f}", row.graph.low, row.graph.high), row.stream.us,
               row.routed.us, row.floorUs, 100 * row.floorUs / row.graph.us, row.teraflops, row.gigabytes);
  for (size_t i = 0; i < rows.size(); ++i)
    fmt::print("{:>7} {}\n", rows[i].tokens, configs[i]);
}

} // namespace

Status runBenchCuda(const BenchOptions &options) {
  Result<RoutingSpec> routing = RoutingSpec::parse(options.routing);
  if (!routing)
    return routing.status();
  const std::vector<uint32_t> tokens =
      options.tokens.empty() ? std::vector<uint32_t>{1, 4, 16, 64, 256, 1024} : options.tokens;
  Result<std::shared_ptr<const CudaApi>> api = CudaApi::load();
  MOEC_TRY(api.status());
  Result<std::shared_ptr<CudaDriver>> driver = CudaDriver::open(options.target, *api);
  MOEC_TRY(driver.status());
  std::vector<Row> rows;
  std::vector<std::string> configs;
  for (uint32_t count : tokens) {
    // Each row is generation 0 planned for its token count: what a session opened for such steps would run.
    Result<BenchSession> bench = BenchSession::open(options, count, count);
    MOEC_TRY(bench.status());
    Result<Row> row = CudaTable(*bench, *driver, options.repeats).measure(*routing, count);
    if (!row)
      return row.status().withContext("{} tokens", count);
    rows.push_back(*row);
    configs.push_back(bench->session->host().livePlan(bench->session->layers().front()).config.text());
    if (count != tokens.back())
      continue;
    if (options.format == "text") {
      printText(*bench, options, rows, configs);
      continue;
    }
    nlohmann::json json = {{"schema", "moec.bench-cuda"}, {"schema_version", 1}, {"model", bench->model->name()},
                           {"device", bench->facts.gpu.model}, {"arch", bench->facts.arch}, {"routing", options.routing},
                           {"layers", bench->session->layers().size()}};
    for (size_t i = 0; i < rows.size(); ++i) {
      json["rows"].push_back(jsonOf(rows[i]));
      json["rows"].back()["config"] = configs[i];
    }
    fmt::print("{}\n", json.dump());
  }
  return {};
}

} // namespace moec::tool
#else
namespace moec::tool {
Status runBenchCuda(const BenchOptions &options) {
  return makeError(Code::DeviceMissing, "{}: this build was made without CUDA's headers", options.target);
}
} // namespace moec::tool
#endif
