// moec-bench-loop p99: a step's 99th percentile while the background compiles, against a thread that only spins in its
// place.
#include "runtime/recompile/IdleScope.h"
#include "tools/bench/loop/LoopBench.h"

#include <nlohmann/json.hpp>

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

namespace moec::bench {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int loopNiceness = 10; // RecompilerOptions::niceness
constexpr int64_t forever = 3600ll * 1'000'000'000;
constexpr double blockSeconds = 1.5, blockSecondsOnGpu = 5; // a GPU layer's kernels take seconds to compile

/// A build's first seconds (RecompilerOptions::idlePatienceNs), and the rest of one that steps left too little time.
enum class Stage : uint8_t { Idle, Nice };
constexpr std::array<const char *, 2> stageNames = {"idle class", "nice 10"};
enum class Company : uint8_t { None, Spinning, Compiling };
constexpr std::array<const char *, 3> companyNames = {"nothing", "a spinning thread", "compiles"};

double p99Of(const std::vector<double> &values) { return quantile(values, 0.99); }

/// A thread as the loop's: of its class, on the last processor, spinning or building one generation after the other.
class Background {
public:
  Background(tool::BenchSession &bench, Company company, Stage stage) : bench(bench), stage(stage) {
    if (company != Company::None)
      thread = std::thread([this, company] { run(company); });
  }
  ~Background() { (void)finish(); }

  Status finish() {
    stop.store(true);
    if (thread.joinable())
      thread.join();
    return failure;
  }

  uint32_t builds = 0;   // that ended, each with a compile
  double compileMs = 0;  // summed
  uint32_t nextSeed = 0; // of the plans; the caller carries it from block to block

private:
  void run(Company company) {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), loopNiceness);
    IdleScope idle(stage == Stage::Idle ? forever : 0);
    if (stage == Stage::Idle && !idle.idle()) {
      failure =
          makeError(Code::Failure, "this user's threads may not leave the idle class, so the loop's do not enter it");
      return;
    }
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)) - 1, &last);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(last), &last); // where it may not: both are alike
    while (!stop.load(std::memory_order_relaxed) && failure.ok())
      if (company == Company::Compiling)
        failure = build();
  }

  /// A generation of kernels that are not in memory any more: every build compiles.
  Status build() {
    GenerationHost &host = bench.session->host();
    if (plans.empty())
      plans = otherPlans(bench, nextSeed++);
    const LayerPlan plan = std::move(plans.back());
    plans.pop_back();
    Result<BuildReport> built = host.build({{bench.session->layers().front(), plan}}, {},
                                           [this] { return stop.load(std::memory_order_relaxed); });
    if (!built)
      return built.status().code() == Code::Cancelled ? Status() : built.status();
    host.retire(built->generation);
    builds += built->kernelsBuilt > 0;
    compileMs += built->compileMs;
    return {};
  }

  tool::BenchSession &bench;
  const Stage stage;
  std::atomic<bool> stop{false};
  std::vector<LayerPlan> plans;
  Status failure;
  std::thread thread;
};

struct P99Row {
  uint32_t tokens = 0;
  Stage stage = Stage::Idle;
  size_t steps = 0;                          // in each company
  std::array<double, 3> medianMs{}, p99Ms{}; // by company, all repeats together
  tool::Interval ratio;                      // of the p99 of compiling over that of spinning, by repeat
  uint32_t builds = 0;
  double compileMs = 0; // mean
};

class P99Bench {
public:
  explicit P99Bench(const tool::BenchOptions &given) : options(given), onGpu(given.target.starts_with("cuda")) {
    options.noCache = true; // every build compiles
  }

  Status run() {
    for (uint32_t tokens : options.tokens.empty() ? std::vector<uint32_t>{1, 16} : options.tokens)
      for (Stage stage :
           onGpu ? std::vector{Stage::Nice} : std::vector{Stage::Idle, Stage::Nice}) // the loop's own classes
        if (Status status = measure(tokens, stage); !status.ok())
          return status.withContext("{} tokens, {}", tokens, stageNames[static_cast<size_t>(stage)]);
    options.format == "text" ? printText() : printJson();
    return {};
  }

private:
  Status measure(uint32_t tokens, Stage stage) {
    Result<tool::BenchSession> opened = tool::BenchSession::open(options, tokens, tokens);
    if (!opened)
      return opened.status();
    tool::BenchSession &bench = *opened;
    name = bench.model->name(), threads = bench.facts.threads;
    steps = tool::drawSteps(options.routing, bench.shape, tokens, 4);
    P99Row row;
    row.tokens = tokens, row.stage = stage;
    std::array<std::vector<double>, 3> all, p99s;
    for (uint32_t repeat = 0; repeat <= options.repeats; ++repeat)
      for (uint32_t turn = 0; turn < 3; ++turn) {
        const auto company = static_cast<Company>((turn + repeat) % 3);
        std::vector<double> times;
        if (Status status = block(bench, company, times, row); !status.ok())
          return status;
        if (repeat == 0)
          continue;
        const auto index = static_cast<size_t>(company);
        p99s[index].push_back(p99Of(times));
        all[index].insert(all[index].end(), times.begin(), times.end());
      }
    for (size_t company = 0; company < 3; ++company)
      row.medianMs[company] = tool::median(all[company]) / 1e6, row.p99Ms[company] = p99Of(all[company]) / 1e6;
    row.steps = all[2].size();
    row.ratio = tool::ratioOf(p99s[2], p99s[1]);
    row.compileMs /= std::max(1u, row.builds);
    rows.push_back(row);
    return {};
  }

  Status block(tool::BenchSession &bench, Company company, std::vector<double> &times, P99Row &row) {
    Background background(bench, company, row.stage);
    background.nextSeed = nextSeed;
    const auto start = Clock::now();
    for (uint32_t index = 0;
         std::chrono::duration<double>(Clock::now() - start).count() < (onGpu ? blockSecondsOnGpu : blockSeconds);
         ++index) {
      Result<uint64_t> ns = bench.run(steps[index % steps.size()]);
      if (!ns)
        return ns.status();
      if (index > 0)
        times.push_back(static_cast<double>(*ns));
    }
    Status status = background.finish();
    nextSeed = background.nextSeed;
    row.builds += background.builds, row.compileMs += background.compileMs;
    return status;
  }

  void printJson() const {
    nlohmann::json json = {
        {"schema", "moec.bench-cpu-p99"}, {"schema_version", 2},        {"model", name},           {"threads", threads},
        {"routing", options.routing},     {"repeats", options.repeats}, {"niceness", loopNiceness}};
    for (const P99Row &row : rows)
      json["rows"].push_back({{"tokens", row.tokens},
                              {"class", stageNames[static_cast<size_t>(row.stage)]},
                              {"steps", row.steps},
                              {"alone_ms", {{"median", row.medianMs[0]}, {"p99", row.p99Ms[0]}}},
                              {"spinning_ms", {{"median", row.medianMs[1]}, {"p99", row.p99Ms[1]}}},
                              {"compiling_ms", {{"median", row.medianMs[2]}, {"p99", row.p99Ms[2]}}},
                              {"p99_compiling_over_spinning", tool::ratioJson(row.ratio)},
                              {"pooled_ratio", row.p99Ms[2] / row.p99Ms[1]},
                              {"compiles", row.builds},
                              {"compile_ms", row.compileMs}});
    fmt::print("{}\n", json.dump());
  }

  void printText() const {
    fmt::print("{} on {} threads, routing {}; beside the steps a thread on the last processor, of the idle class or of "
               "nice {}; {} repeats in turns\n\n",
               name, threads, options.routing, loopNiceness, options.repeats);
    fmt::print("{:>6} {:<11} {:<18} {:>10} {:>10} {:>8}\n", "tokens", "class", "beside", "median ms", "p99 ms",
               "steps");
    for (const P99Row &row : rows) {
      for (size_t company = 0; company < 3; ++company)
        fmt::print("{:>6} {:<11} {:<18} {:>10.3f} {:>10.3f} {:>8}\n", row.tokens,
                   stageNames[static_cast<size_t>(row.stage)], companyNames[company], row.medianMs[company],
                   row.p99Ms[company], company == 2 ? fmt::format("{}", row.steps) : "");
      fmt::print(
          "       p99 with compiles over p99 with spinning: {} by repeat, {:.3f} pooled; {} compiles of {:.0f} ms\n",
          tool::ratioText(row.ratio), row.p99Ms[2] / row.p99Ms[1], row.builds, row.compileMs);
    }
  }

  tool::BenchOptions options;
  const bool onGpu;
  std::string name;
  uint32_t threads = 0, nextSeed = 0;
  std::vector<tool::RoutedStep> steps;
  std::vector<P99Row> rows;
};

} // namespace

Status runP99(const tool::BenchOptions &options) { return P99Bench(options).run(); }

} // namespace moec::bench
