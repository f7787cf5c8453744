// moec-bench-cpu library: moec's generation 0 beside a loop of oneDNN products over experts.
#include "tools/bench/cpu/CpuBench.h"
#include "tools/bench/cpu/OneDnnLayer.h"
#include "tools/common/Files.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace moec::bench {

namespace {

struct LibraryRow {
  uint32_t tokens = 0;
  double rowsPerExpert = 0;
  tool::Interval moecMs, onednnMs, ratio; // ratio: oneDNN's time over moec's
  Schedule schedule = Schedule::InTurn;   // the better one of oneDNN's
  double distance = 0;                    // between the two outputs
};

tool::Interval milliseconds(const std::vector<double> &ns) {
  tool::Interval interval = tool::intervalOf(ns);
  return {interval.median / 1e6, interval.low / 1e6, interval.high / 1e6};
}

/// Both must compute the same layer: a rival that leaves something out proves nothing.
Result<double> compareOutputs(tool::BenchSession &bench, OneDnnLayer &rival, const tool::RoutedStep &step,
                              Schedule schedule) {
  if (Result<uint64_t> ns = bench.run(step); !ns)
    return ns.status();
  std::vector<uint8_t> output(bench.output.size());
  if (Result<uint64_t> ns = rival.run(bench.hidden.data(), step, output.data(), schedule); !ns)
    return ns.status();
  const double distance = relativeDistance(bench.output.data(), output.data(),
                                           uint64_t{step.tokens} * bench.shape.hidden, bench.shape.dtype);
  // bf16: both round rows between the products, at places of their own. f32: order of sums.
  const double most = bench.shape.dtype == DType::BF16 ? 1e-2 : 1e-5;
  if (!(distance <= most))
    return makeError(Code::VerificationMismatch,
                     "oneDNN ({}) and moec differ by {:.2e} relative at {} tokens, above {:.0e}",
                     scheduleName(schedule), distance, step.tokens, most);
  return distance;
}

class LibraryBench {
public:
  explicit LibraryBench(const CpuBenchOptions &options) : options(options) {}

  Status run() {
    std::vector<uint32_t> tokens =
        options.tokens.empty() ? std::vector<uint32_t>{1, 16, 64, 128, 256, 512} : options.tokens;
    const uint32_t most = *std::max_element(tokens.begin(), tokens.end());
    for (uint32_t count : tokens)
      if (Status status = measure(count, most); !status.ok())
        return status.withContext("{} tokens", count);
    options.format == "text" ? printText() : printJson();
    if (options.routingFile.empty())
      return {};
    nlohmann::json file = {{"schema", "moec.bench-cpu-routing"},
                           {"schema_version", 1},
                           {"hidden", shape.hidden},
                           {"intermediate", shape.intermediate},
                           {"experts", shape.experts},
                           {"top_k", shape.topK},
                           {"dtype", dtypeName(shape.dtype)},
                           {"threads", machineFields["threads"]},
                           {"steps", routing}};
    return tool::writeOutput(options.routingFile, file.dump());
  }

private:
  Status measure(uint32_t tokens, uint32_t most) {
    // Generation 0 as a session for such steps has it.
    Result<tool::BenchSession> opened = tool::BenchSession::open(options, tokens, tokens);
    if (!opened)
      return opened.status();
    tool::BenchSession &bench = *opened;
    if (!rival)
      if (Status status = openRival(bench, most); !status.ok())
        return status;
    machine = machineText(bench), machineFields = machineJson(bench), shape = bench.shape, name = bench.model->name();
    const std::vector<tool::RoutedStep> steps = tool::drawSteps(options.routing, bench.shape, tokens, 4);
    LibraryRow row;
    row.tokens = tokens, row.rowsPerExpert = double(tokens) * shape.topK / shape.experts;
    for (Schedule schedule : {Schedule::InTurn, Schedule::AtOnce})
      for (const tool::RoutedStep &step : steps) {
        if (Status status = rival->prepare(step, schedule); !status.ok())
          return status;
        Result<double> distance = compareOutputs(bench, *rival, step, schedule);
        if (!distance)
          return distance.status();
        row.distance = std::max(row.distance, *distance);
      }
    std::vector<uint8_t> output(bench.output.size());
    auto ofRival = [&](Schedule schedule) {
      return tool::Contestant{scheduleName(schedule), {}, [&, schedule](uint32_t index) {
                                return rival->run(bench.hidden.data(), steps[index % steps.size()], output.data(),
                                                  schedule);
                              }};
    };
    Result<std::vector<std::vector<double>>> times =
        tool::contest({{"moec", {}, [&](uint32_t index) { return bench.run(steps[index % steps.size()]); }},
                       ofRival(Schedule::InTurn),
                       ofRival(Schedule::AtOnce)},
                      {.repeats = options.repeats, .period = static_cast<uint32_t>(steps.size())});
    if (!times)
      return times.status();
    row.schedule = tool::median((*times)[1]) <= tool::median((*times)[2]) ? Schedule::InTurn : Schedule::AtOnce;
    const std::vector<double> &best = (*times)[row.schedule == Schedule::InTurn ? 1 : 2];
    row.moecMs = milliseconds((*times)[0]), row.onednnMs = milliseconds(best),
    row.ratio = tool::ratioOf(best, (*times)[0]);
    rows.push_back(row);
    for (const tool::RoutedStep &step : steps)
      routing.push_back({{"tokens", step.tokens}, {"ids", step.ids}});
    return {};
  }

  Status openRival(const tool::BenchSession &bench, uint32_t maxTokens) {
    Result<std::unique_ptr<WeightSource>> weights = openWeights(options.weights);
    if (!weights)
      return weights.status();
    Result<std::unique_ptr<OneDnnLayer>> made =
        OneDnnLayer::make(bench.model->layers().front(), std::move(*weights), bench.facts.threads, maxTokens);
    if (!made)
      return made.status();
    rival = std::move(*made);
    return {};
  }

  void printJson() const {
    const dnnl_version_t *version = dnnl_version();
    nlohmann::json json = {{"schema", "moec.bench-cpu-library"},
                           {"schema_version", 1},
                           {"model", name},
                           {"dtype", dtypeName(shape.dtype)},
                           {"routing", options.routing},
                           {"repeats", options.repeats},
                           {"machine", machineFields}};
    json["onednn"] = {{"version", fmt::format("{}.{}.{}", version->major, version->minor, version->patch)},
                      {"implementations", rival->implementations()},
                      {"weight_layouts", rival->numLayouts()},
                      {"packed_bytes", rival->packedBytes()}};
    for (const LibraryRow &row : rows)
      json["rows"].push_back({{"tokens", row.tokens},
                              {"rows_per_expert", row.rowsPerExpert},
                              {"moec_ms", row.moecMs.median},
                              {"onednn_ms", row.onednnMs.median},
                              {"onednn_schedule", scheduleName(row.schedule)},
                              {"onednn_over_moec", tool::ratioJson(row.ratio)},
                              {"output_distance", row.distance}});
    fmt::print("{}\n", json.dump());
  }

  void printText() const {
    const dnnl_version_t *version = dnnl_version();
    fmt::print("{}: H {} I {} E {} K {} {}, routing {}, {} repeats in turns, medians with 95 % intervals\n{}\n", name,
               shape.hidden, shape.intermediate, shape.experts, shape.topK, dtypeName(shape.dtype), options.routing,
               options.repeats, machine);
    fmt::print("oneDNN {}.{}.{}: {}; {} weight layout(s), {:.1f} GB packed ahead\n\n", version->major, version->minor,
               version->patch, rival->implementations(), rival->numLayouts(), double(rival->packedBytes()) / 1e9);
    fmt::print("{:>6} {:>12} {:>10} {:>10} {:>9} {:>24} {:>11}\n", "tokens", "rows/expert", "moec ms", "oneDNN ms",
               "schedule", "oneDNN / moec", "difference");
    for (const LibraryRow &row : rows)
      fmt::print("{:>6} {:>12.1f} {:>10.3f} {:>10.3f} {:>9} {:>24} {:>11.1e}\n", row.tokens, row.rowsPerExpert,
                 row.moecMs.median, row.onednnMs.median, scheduleName(row.schedule), tool::ratioText(row.ratio),
                 row.distance);
  }

  const CpuBenchOptions &options;
  std::unique_ptr<OneDnnLayer> rival;
  LayerShape shape;
  std::string name, machine;
  nlohmann::json machineFields, routing = nlohmann::json::array();
  std::vector<LibraryRow> rows;
};

} // namespace

Status runLibrary(const CpuBenchOptions &options) { return LibraryBench(options).run(); }

} // namespace moec::bench
