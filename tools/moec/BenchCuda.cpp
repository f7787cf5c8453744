// `moec bench` on a GPU: a row of device times per token count, by events, of graphs, of a stream and kernel by kernel.
#include "tools/moec/BenchCudaTable.h"
#include "tools/moec/BenchSession.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

#if defined(MOEC_WITH_CUDA)
#include "compiler/core/PlanCuda.h"
#include "runtime/device/cuda/GraphTimer.h"
#include "runtime/device/cuda/Memory.h"
#include "tools/moec/KernelTimes.h"

namespace moec::tool {
namespace {

// Each draw hits other experts, so that weights come from memory and not from the second-level cache.
constexpr uint32_t numDraws = 8;
constexpr uint32_t warmUps = 5;

struct KernelName {
  const char *name; // as forwards call it, which may have more behind a comma
  LaunchKind kind;
  CudaWork (*before)(const LayerShape &shape,
                     uint32_t tokens) = nullptr; // what it does, where it prepares the launch's rows

  CudaWork work(const LayerShape &shape, uint32_t tokens, double expertsHit, bool e4m3) const {
    return before ? before(shape, tokens) : cudaLaunchWork(kind, shape, tokens, expertsHit, e4m3);
  }
};
constexpr KernelName kernelNames[] = {
    {"router", LaunchKind::Router},
    {"route", LaunchKind::Route},
    {"dispatch", LaunchKind::Dispatch},
    {"quantise-tokens", LaunchKind::GateUp, cudaQuantiseTokensWork},
    {"gate-up", LaunchKind::GateUp},
    {"quantise-activated", LaunchKind::Down, cudaQuantiseActivatedWork},
    {"down", LaunchKind::Down},
    {"shared-gate-up", LaunchKind::SharedGateUp},
    {"shared-down", LaunchKind::SharedDown},
    {"combine", LaunchKind::Store},
};

FloorRates ratesOf(const Calibration &calibration, const TargetFacts &facts) {
  if (calibration.measured && calibration.gpu)
    return {true, calibration.gpu->memoryBytesPerNs, calibration.gpu->matrixFlopsPerNs(facts)};
  return {false, facts.gpu.memoryBytesPerNs, facts.gpu.matrixFlopsPerNs};
}

class CudaTable {
public:
  CudaTable(BenchSession &bench, std::shared_ptr<CudaDriver> driver, KernelTimes &kernelTimes, uint32_t repeats)
      : bench(bench), driver(std::move(driver)), kernelTimes(kernelTimes), memory(this->driver, {}),
        repeats(20 * repeats) {}

  Result<CudaRow> measure(const RoutingSpec &routing, uint32_t tokens) {
    ContextScope scope(*driver);
    MOEC_TRY(scope.status());
    CudaRow row;
    row.tokens = tokens;
    MOEC_TRY(prepare(routing, row));
    Result<GraphTimer> timer = GraphTimer::make(driver, stream());
    MOEC_TRY(timer.status());
    const auto given = [&] { return queue(tokens, false); };
    MOEC_TRY(keep(timer->replays(given, warmUps, repeats), row.graph));
    MOEC_TRY(keep(timer->runs(given, warmUps, repeats), row.stream));
    MOEC_TRY(keep(timer->replays([&] { return queue(tokens, true); }, warmUps, repeats), row.routed));
    row.work = cudaLayerWork(bench.shape, tokens, row.experts, e4m3());
    MOEC_TRY(timeKernels(row));
    predict(row);
    return row;
  }

private:
  Status prepare(const RoutingSpec &routing, CudaRow &row) {
    std::set<int32_t> all;
    for (uint32_t draw = 0; draw < numDraws; ++draw) {
      const RoutedStep step = drawStep(routing, row.tokens, bench.shape.topK, bench.shape.experts, 1 + draw, draw);
      const std::set<int32_t> hit(step.ids.begin(), step.ids.end());
      all.insert(hit.begin(), hit.end());
      row.experts += static_cast<double>(hit.size()) / numDraws;
      histograms.push_back({row.tokens, std::vector<uint32_t>(bench.shape.experts, 0)});
      for (int32_t expert : step.ids)
        ++histograms.back().pairs[static_cast<size_t>(expert)];
      MOEC_TRY(upload(step.ids.data(), step.ids.size() * 4, ids[draw]));
      MOEC_TRY(upload(step.weights.data(), step.weights.size() * 4, weights[draw]));
    }
    const double expertBytes = 3.0 * (e4m3() ? 1 : 2) * bench.shape.hidden * bench.shape.intermediate;
    row.rotatedBytes = static_cast<double>(all.size() * bench.session->layers().size()) * expertBytes;
    return bench.bridge->wait();
  }

  Status upload(const void *from, uint64_t bytes, DeviceBuffer &to) {
    Result<DeviceBuffer> made = memory.allocate(bytes, "routing");
    MOEC_TRY(made.status());
    to = std::move(*made);
    MOEC_CUDA(*driver, cuMemcpyHtoDAsync, (to.address(), from, bytes, stream()), "routing");
    return bench.bridge->wait();
  }

  bool e4m3() const { return multipliesE4M3(bench.shape, bench.facts); }
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

  /// Of one forward.
  Status keep(const Result<std::vector<double>> &ns, Times &times) {
    MOEC_TRY(ns.status());
    std::vector<double> us;
    for (double run : *ns)
      us.push_back(run / 1e3 / numDraws / static_cast<double>(bench.session->layers().size()));
    times.us = median(us);
    std::tie(times.low, times.high) = medianInterval(us);
    return {};
  }

  /// A pass of its own, so that events disturb no other time. Router and routing are of forwards that route themselves,
  /// which sends all draws to the same experts; the rest is of forwards whose routing is given.
  Status timeKernels(CudaRow &row) {
    for (bool ownRouting : {true, false}) {
      Result<std::vector<KernelTimes::Kernel>> timed = timedKernels(row.tokens, ownRouting);
      MOEC_TRY(timed.status());
      for (const KernelName &name : kernelNames) {
        if ((name.kind == LaunchKind::Router || name.kind == LaunchKind::Route) != ownRouting)
          continue;
        KernelRow kernel{name.name, 0, 0, name.work(bench.shape, row.tokens, row.experts, e4m3())};
        for (const KernelTimes::Kernel &launches : *timed)
          if (launches.name == name.name || launches.name.starts_with(name.name + std::string(", ")))
            kernel.us += median(launches.us);
        if (kernel.us > 0)
          row.kernels.push_back(std::move(kernel));
      }
    }
    return {};
  }

  Result<std::vector<KernelTimes::Kernel>> timedKernels(uint32_t tokens, bool ownRouting) {
    constexpr uint32_t passes = 5;
    for (uint32_t pass = 0; pass < passes; ++pass) {
      // Forwards ahead keep the device busy while the host queues the timed ones: their events never wait for the host.
      MOEC_TRY(queue(tokens, ownRouting));
      kernelTimes.listen(true);
      const Status queued = queue(tokens, ownRouting);
      kernelTimes.listen(false);
      MOEC_TRY(queued);
      MOEC_TRY(bench.bridge->wait());
    }
    return kernelTimes.take();
  }

  /// What the planner thinks of these routings, on average.
  void predict(CudaRow &row) {
    const CudaConfig config = bench.session->host().livePlan(bench.session->layers().front()).config.cuda;
    const Calibration calibration = bench.session->host().calibration();
    const auto add = [&](const char *name, double ns) {
      for (KernelRow &kernel : row.kernels)
        if (kernel.name == name)
          kernel.predictedUs += ns / 1e3 / numDraws;
    };
    for (const Histogram &histogram : histograms) {
      const CudaStepCost cost = cudaStepCost(bench.shape, config, histogram, bench.facts, calibration);
      row.predictedUs += (cost.ns() - cost.glue.routerNs) / 1e3 / numDraws;
      const double quantisingNs = cost.quantise.inProductsNs / 2; // of each product
      for (auto [name, ns] :
           {std::pair{"dispatch", cost.glue.dispatchNs}, std::pair{"quantise-tokens", cost.quantise.tokensNs},
            std::pair{"gate-up", cost.gateUp.ns + quantisingNs},
            std::pair{"quantise-activated", cost.quantise.activatedNs}, std::pair{"down", cost.down.ns + quantisingNs},
            std::pair{"shared-gate-up", cost.sharedGateUp.ns}, std::pair{"shared-down", cost.sharedDown.ns},
            // (what down takes longer where it combines)
            std::pair{combinesByDown(histogram.tokens, config) ? "down" : "combine", cost.glue.combineNs}})
        add(name, ns);
    }
  }

  bool combinesByDown(uint32_t tokens, const CudaConfig &config) const {
    return downCombines(bench.shape, config.down.family) ||
           downIsFew(bench.shape, tokens, config.gateUp.family, config.down.family);
  }

  BenchSession &bench;
  std::shared_ptr<CudaDriver> driver;
  KernelTimes &kernelTimes;
  DeviceMemory memory;
  const uint32_t repeats;
  DeviceBuffer ids[numDraws], weights[numDraws];
  std::vector<Histogram> histograms; // of the draws
};

} // namespace

Status runBenchCuda(const BenchOptions &given) {
  Result<RoutingSpec> routing = RoutingSpec::parse(given.routing);
  if (!routing)
    return routing.status();
  const std::vector<uint32_t> tokens =
      given.tokens.empty() ? std::vector<uint32_t>{1, 4, 16, 64, 256, 1024} : given.tokens;
  Result<std::shared_ptr<const CudaApi>> api = CudaApi::load();
  MOEC_TRY(api.status());
  Result<std::shared_ptr<CudaDriver>> driver = CudaDriver::open(given.target, *api);
  MOEC_TRY(driver.status());
  const auto kernelTimes = std::make_shared<KernelTimes>(*driver);
  BenchOptions options = given;
  options.launchWatch = kernelTimes;
  CudaReport report;
  for (uint32_t count : tokens) {
    // Each row is generation 0 planned for its token count: what a session opened for such steps would run.
    Result<BenchSession> bench = BenchSession::open(options, count, count);
    MOEC_TRY(bench.status());
    const Calibration calibration = bench->session->host().calibration();
    options.calibration = calibration;
    Result<CudaRow> row = CudaTable(*bench, *driver, *kernelTimes, options.repeats).measure(*routing, count);
    if (!row)
      return row.status().withContext("{} tokens", count);
    row->config = bench->session->host().livePlan(bench->session->layers().front()).config.text();
    if (report.rows.empty())
      report = {bench->model->name(),
                given.routing,
                bench->shape,
                bench->facts,
                bench->session->layers().size(),
                ratesOf(calibration, bench->facts),
                calibration,
                {}};
    report.rows.push_back(std::move(*row));
  }
  fmt::print("{}", given.format == "text" ? reportText(report) : reportJson(report).dump() + "\n");
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
