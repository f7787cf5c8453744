#include "tools/moec/Bench.h"

#include "tools/moec/Setup.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

namespace moec::tool {

static constexpr const char *kExamples = R"(Examples:
  moec bench tests/golden/configs/olmoe-1b-7b --tokens 1,16 --repeats 1 --routing zipf:1.0
      one layer with random weights: microseconds, GFLOP/s and GB/s of weights per token count
  moec bench tests/golden/olmoe --drift=load --pack-budget=40% --seconds 2 --trace run.jsonl
      a scenario through the whole loop: watch, decide, compile in the background, swap, measure

Scenarios: none (skewed, steady), sudden (the hot experts move), load (many tokens, then few and skewed),
rotation (the hot experts cool one by one), square (two routings take turns).)";

namespace {

/// CLI::Range lets NaN pass.
CLI::Validator secondsRange() {
  const auto check = [](const std::string &text) -> std::string {
    double seconds = 0;
    constexpr double least = 0.1, most = 86400;
    if (CLI::detail::lexical_cast(text, seconds) && seconds >= least && seconds <= most)
      return "";
    return fmt::format("'{}' is no number from {} to {}", text, least, most);
  };
  return CLI::Validator(check, "0.1 to 86400");
}

} // namespace

void addBench(CLI::App &app, Tool &tool) {
  auto options = std::make_shared<BenchOptions>();
  options->environment = tool.environment;
  CLI::App *bench = app.add_subcommand("bench", "Time a model's layers, or play a drift scenario through the loop");
  bench->footer(kExamples);
  bench->add_option("model", options->model, "Hugging Face folder, config.json, .mlir or package")->required();
  bench->add_option("--weights", options->weights, "checkpoint folder or file, or random:seed=N")
      ->capture_default_str();
  addPlainWeights(bench, options->plainWeights);
  bench->add_option("--target,--device", options->target, "cpu, cpu-avx2, cpu-avx512, cpu-avx512bf16, cuda or cuda:N")
      ->capture_default_str();
  bench->add_option("--threads", options->threads, "threads of a step; 0: all processors")->capture_default_str();
  bench->add_option("--layers", options->numLayers, "how many MoE layers to open")->capture_default_str();
  bench->add_option("--tokens", options->tokens, "token counts, comma-separated")->delimiter(',');
  CLI::Option *routing =
      bench->add_option("--routing", options->routing, "uniform, zipf:EXPONENT or hot:SHARE")->capture_default_str();
  bench->add_option("--pack-budget", options->packBudget, "packed weights: a share (40%) or bytes (2GiB)")
      ->capture_default_str();
  bench->add_option("--max-tile-heights", options->maxTileHeights, "kernels per GEMM that a plan may have, 1 to 14")
      ->check(CLI::Range(1, 14))
      ->capture_default_str();
  bench->add_option("--repeats", options->repeats, "interleaved repeats")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  bench->add_option("--format", options->format, "text, json or jsonl")
      ->check(CLI::IsMember({"text", "json", "jsonl"}))
      ->capture_default_str();
  bench->add_option("--cache-dir", options->cacheDir, "artefact cache; default MOEC_CACHE_DIR or ~/.cache/moec");
  bench->add_flag("--no-cache", options->noCache, "compile and calibrate anew, keep nothing");
  bench->add_flag("--calibrate", options->calibrate, "measure this CPU's or GPU's calibration anew");
  bench
      ->add_option("--calibration", options->calibrationFile,
                   "plan with this calibration file, or with 'assumed' figures")
      ->excludes("--calibrate");
  CLI::Option *drift = bench->add_option("--drift", options->drift, "scenario, which has a routing of its own")
                           ->check(CLI::IsMember({"none", "sudden", "load", "rotation", "square"}))
                           ->excludes(routing);
  bench->add_option("--trace", options->trace, "with --drift: decision trace to write (JSONL), for moec-trace")
      ->needs(drift);
  bench->add_option("--seconds", options->seconds, "with --drift: longest time that the drifted part may take")
      ->check(secondsRange())
      ->needs(drift)
      ->capture_default_str();
  bench
      ->add_flag("--exhaustive", options->exhaustive,
                 "with --drift: also time the planner's best configs for the new load")
      ->needs(drift);
  bench->add_flag("--live", options->live, "show progress even where stderr is no terminal");
  bench->callback([options, &tool] {
    const bool onGpu = options->target.starts_with("cuda");
    Status status = !options->drift.empty() ? runBenchDrift(*options)
                    : onGpu                 ? runBenchCuda(*options)
                                            : runBenchTable(*options);
    if (!status.ok()) {
      fmt::print(stderr, "moec bench: {}\n", status.message());
      tool.exitCode = moec::exitCode(status.code());
    }
  });
}

} // namespace moec::tool
