// moec-bench-loop swap: 1,000 swaps between two built generations while steps run, timed on the
// thread that makes them and on the one that steps; then 200 more whose driver calls are counted.
#include "tools/bench/loop/CallCounter.h"
#include "tools/bench/loop/LoopBench.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

namespace moec::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint32_t numSwaps = 1000, numCountedSwaps = 200;
constexpr auto between = std::chrono::microseconds(500);

/// Driver calls of swaps, and of the steps beside them: were the steps' none, nothing would have
/// been counted.
struct CountedCalls {
  DriverCalls swaps, steps;
  uint32_t numSteps = 0;
};

struct SwapRow {
  uint32_t tokens = 0;
  std::vector<double> publishNs;
  std::vector<double> quietNs, swappingNs; // of steps, the host's clock
  std::optional<CountedCalls> calls;       // on a GPU, where CUPTI is there
};

Result<uint64_t> buildOne(tool::BenchSession &bench, const LayerPlan &plan) {
  Result<BuildReport> built =
      bench.session->host().build({{bench.session->layers().front(), plan}}, {}, [] { return false; });
  return built ? Result<uint64_t>(built->generation) : built.status();
}

/// Publishes the two in turn from a thread of its own until it has done so `times` times.
class Swapper {
public:
  Swapper(GenerationHost &host, uint64_t a, uint64_t b, uint32_t times, std::vector<double> &ns)
      : thread([this, &host, a, b, times, &ns] {
          for (uint32_t swap = 0; swap < times && failure.ok(); ++swap) {
            const DriverCalls before = CallCounter::ofThisThread();
            const auto start = Clock::now();
            failure = host.publish(swap % 2 ? b : a);
            ns.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count());
            calls += CallCounter::ofThisThread() - before;
            std::this_thread::sleep_for(between);
          }
          done.store(true, std::memory_order_release);
        }) {}
  ~Swapper() { thread.join(); }
  bool over() const { return done.load(std::memory_order_acquire); }
  /// Once it is over.
  const Status &status() const { return failure; }
  const DriverCalls &driverCalls() const { return calls; }

private:
  Status failure;
  DriverCalls calls;
  std::atomic<bool> done{false};
  std::thread thread; // last: it uses the others
};

Result<SwapRow> measure(const tool::BenchOptions &options, uint32_t tokens) {
  Result<tool::BenchSession> bench = tool::BenchSession::open(options, tokens, tokens);
  if (Status status = bench.status(); !status.ok())
    return status;
  const std::vector<tool::RoutedStep> steps = tool::drawSteps(options.routing, bench->shape, tokens, 4);
  const std::vector<LayerPlan> plans = otherPlans(*bench, 1);
  Result<uint64_t> a = buildOne(*bench, plans.front()), b = buildOne(*bench, plans.back());
  if (Status status = a.status(); !status.ok())
    return status;
  if (Status status = b.status(); !status.ok())
    return status;
  SwapRow row;
  row.tokens = tokens;
  auto step = [&](uint32_t index, std::vector<double> &ns) -> Status {
    Result<uint64_t> took = bench->run(steps[index % steps.size()]);
    if (Status status = took.status(); !status.ok())
      return status;
    ns.push_back(static_cast<double>(*took));
    return {};
  };
  // Without swaps the two generations serve for as many steps each: what they differ by is no cost
  // of a swap.
  constexpr uint32_t warmUp = 20, quiet = 500;
  for (uint64_t generation : {*a, *b}) {
    if (Status status = bench->session->host().publish(generation); !status.ok())
      return status;
    std::vector<double> warm;
    for (uint32_t index = 0; index < warmUp; ++index)
      if (Status status = step(index, warm); !status.ok())
        return status;
    for (uint32_t index = 0; index < quiet; ++index)
      if (Status status = step(index, row.quietNs); !status.ok())
        return status;
  }
  auto swapBesideSteps = [&](uint32_t times, std::vector<double> &publishNs,
                             std::vector<double> &stepNs) -> Result<DriverCalls> {
    Swapper swapper(bench->session->host(), *a, *b, times, publishNs);
    for (uint32_t index = 0; !swapper.over(); ++index)
      if (Status status = step(index, stepNs); !status.ok())
        return status;
    if (Status status = swapper.status(); !status.ok())
      return status;
    return swapper.driverCalls();
  };
  if (Status status = swapBesideSteps(numSwaps, row.publishNs, row.swappingNs).status(); !status.ok())
    return status;
  if (!options.target.starts_with("cuda"))
    return row;
  Result<std::unique_ptr<CallCounter>> counter = CallCounter::start();
  if (!counter) {
    fmt::print(stderr, "driver calls are not counted: {}\n", counter.status().message());
    return row;
  }
  std::vector<double> publishNs, stepNs; // slower than without the counter: nobody's times
  const DriverCalls before = CallCounter::ofThisThread();
  Result<DriverCalls> ofSwaps = swapBesideSteps(numCountedSwaps, publishNs, stepNs);
  if (!ofSwaps)
    return ofSwaps.status();
  row.calls = CountedCalls{*ofSwaps, CallCounter::ofThisThread() - before, static_cast<uint32_t>(stepNs.size())};
  return row;
}

void printCalls(const SwapRow &row) {
  const auto &[swaps, steps, numSteps] = *row.calls;
  fmt::print("{:>7} {} swaps made {} driver calls and {} synchronisations; {} steps beside them {} "
             "and {}\n",
             row.tokens, numCountedSwaps, swaps.calls, swaps.synchronisations, numSteps, steps.calls,
             steps.synchronisations);
}

nlohmann::json toJson(const CountedCalls &calls) {
  auto of = [](const DriverCalls &some, uint32_t count) {
    return nlohmann::json{{"count", count}, {"driver_calls", some.calls}, {"synchronisations", some.synchronisations}};
  };
  return {{"swaps", of(calls.swaps, numCountedSwaps)}, {"steps", of(calls.steps, calls.numSteps)}};
}

nlohmann::json microseconds(const std::vector<double> &ns) {
  return {{"p50", quantile(ns, 0.5) / 1e3},
          {"p99", quantile(ns, 0.99) / 1e3},
          {"most", quantile(ns, 1) / 1e3},
          {"count", ns.size()}};
}

} // namespace

Status runSwap(const tool::BenchOptions &options) {
  nlohmann::json json = {
      {"schema", "moec.bench-loop-swap"}, {"schema_version", 1}, {"model", options.model}, {"device", options.target}};
  if (options.format == "text")
    fmt::print("{} on {}: {} swaps beside steps; microseconds\n{:>7} {:<28} {:>10} {:>10} {:>10} {:>8}\n",
               options.model, options.target, numSwaps, "tokens", "", "p50", "p99", "most", "count");
  for (uint32_t tokens : options.tokens.empty() ? std::vector<uint32_t>{1, 16} : options.tokens) {
    Result<SwapRow> row = measure(options, tokens);
    if (!row)
      return row.status().withContext("{} tokens", tokens);
    const std::vector<std::pair<const char *, nlohmann::json>> parts = {
        {"publish_us", microseconds(row->publishNs)},
        {"step_us", microseconds(row->quietNs)},
        {"step_us_while_swapping", microseconds(row->swappingNs)}};
    nlohmann::json line = {{"tokens", tokens}};
    for (const auto &[name, values] : parts) {
      line[name] = values;
      if (options.format == "text")
        fmt::print("{:>7} {:<28} {:>10.2f} {:>10.2f} {:>10.2f} {:>8}\n", tokens, name, values["p50"].get<double>(),
                   values["p99"].get<double>(), values["most"].get<double>(), values["count"].get<size_t>());
    }
    if (row->calls) {
      line["calls"] = toJson(*row->calls);
      if (options.format == "text")
        printCalls(*row);
    }
    json["rows"].push_back(line);
  }
  if (options.format != "text")
    fmt::print("{}\n", json.dump());
  return {};
}

} // namespace moec::bench
