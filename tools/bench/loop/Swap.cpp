// moec-bench-loop swap: 1,000 swaps between two built generations while steps run, timed on the thread that makes them and
// on the one that steps.
#include "tools/bench/loop/LoopBench.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <thread>

namespace moec::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint32_t numSwaps = 1000;
constexpr auto between = std::chrono::microseconds(500);

struct SwapRow {
  uint32_t tokens = 0;
  std::vector<double> publishNs;
  std::vector<double> quietNs, swappingNs; // of steps, the host's clock
};

Result<uint64_t> buildOne(tool::BenchSession &bench, const LayerPlan &plan) {
  Result<BuildReport> built = bench.session->host().build({{bench.session->layers().front(), plan}}, {}, [] { return false; });
  return built ? Result<uint64_t>(built->generation) : built.status();
}

/// Publishes the two in turn from a thread of its own until it has done so `numSwaps` times.
class Swapper {
public:
  Swapper(GenerationHost &host, uint64_t a, uint64_t b, std::vector<double> &ns)
      : thread([this, &host, a, b, &ns] {
          for (uint32_t swap = 0; swap < numSwaps && failure.ok(); ++swap) {
            const auto start = Clock::now();
            failure = host.publish(swap % 2 ? b : a);
            ns.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count());
            std::this_thread::sleep_for(between);
          }
          done.store(true, std::memory_order_release);
        }) {}
  ~Swapper() { thread.join(); }
  bool over() const { return done.load(std::memory_order_acquire); }
  /// Once it is over.
  const Status &status() const { return failure; }

private:
  Status failure;
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
  // Without swaps the two generations serve for as many steps each: what they differ by is no cost of a swap.
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
  Swapper swapper(bench->session->host(), *a, *b, row.publishNs);
  for (uint32_t index = 0; !swapper.over(); ++index)
    if (Status status = step(index, row.swappingNs); !status.ok())
      return status;
  if (Status status = swapper.status(); !status.ok())
    return status;
  return row;
}

nlohmann::json microseconds(const std::vector<double> &ns) {
  return {{"p50", quantile(ns, 0.5) / 1e3}, {"p99", quantile(ns, 0.99) / 1e3}, {"most", quantile(ns, 1) / 1e3}, {"count", ns.size()}};
}

} // namespace

Status runSwap(const tool::BenchOptions &options) {
  nlohmann::json json = {{"schema", "moec.bench-loop-swap"}, {"schema_version", 1}, {"model", options.model}, {"device", options.target}};
  if (options.format == "text")
    fmt::print("{} on {}: {} swaps beside steps; microseconds\n{:>7} {:<28} {:>10} {:>10} {:>10} {:>8}\n", options.model, options.target,
               numSwaps, "tokens", "", "p50", "p99", "most", "count");
  for (uint32_t tokens : options.tokens.empty() ? std::vector<uint32_t>{1, 16} : options.tokens) {
    Result<SwapRow> row = measure(options, tokens);
    if (!row)
      return row.status().withContext("{} tokens", tokens);
    const std::vector<std::pair<const char *, nlohmann::json>> parts = {{"publish_us", microseconds(row->publishNs)},
                                                                        {"step_us", microseconds(row->quietNs)},
                                                                        {"step_us_while_swapping", microseconds(row->swappingNs)}};
    nlohmann::json line = {{"tokens", tokens}};
    for (const auto &[name, values] : parts) {
      line[name] = values;
      if (options.format == "text")
        fmt::print("{:>7} {:<28} {:>10.2f} {:>10.2f} {:>10.2f} {:>8}\n", tokens, name, values["p50"].get<double>(),
                   values["p99"].get<double>(), values["most"].get<double>(), values["count"].get<size_t>());
    }
    json["rows"].push_back(line);
  }
  if (options.format != "text")
    fmt::print("{}\n", json.dump());
  return {};
}

} // namespace moec::bench
