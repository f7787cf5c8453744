// moec-bench-loop: what the recompilation loop does to steps.
#include "tools/bench/loop/LoopBench.h"
#include "tools/common/CommandLine.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

namespace {

using namespace moec;

constexpr const char *footer = R"(Example:
  moec-bench-loop p99 tests/golden/configs/olmoe-1b-7b --tokens 16
  moec-bench-loop swap tests/golden/configs/olmoe-1b-7b --tokens 16 --device cuda:0
Exit codes: as moec.)";

void addVerb(CLI::App &app, const char *name, const char *description, tool::BenchOptions &options, int &exitCode,
             Status (*run)(const tool::BenchOptions &)) {
  CLI::App *verb = app.add_subcommand(name, description);
  verb->add_option("model", options.model, "Hugging Face folder, config.json, .mlir or package")->required();
  verb->add_option("--weights", options.weights, "checkpoint folder or file, or random:seed=N")->capture_default_str();
  verb->add_option("--target,--device", options.target, "cpu, cpu-avx2, cpu-avx512, cpu-avx512bf16, cuda or cuda:N")
      ->capture_default_str();
  verb->add_option("--threads", options.threads, "threads of a step; 0: all processors")->capture_default_str();
  verb->add_option("--tokens", options.tokens, "token counts, comma-separated")->delimiter(',');
  verb->add_option("--routing", options.routing, "uniform, zipf:EXPONENT or hot:SHARE")->capture_default_str();
  verb->add_option("--repeats", options.repeats, "blocks of each company, in turns")
      ->check(CLI::Range(5, 1000))
      ->capture_default_str();
  verb->add_option("--format", options.format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->callback([&options, &exitCode, name, run] {
    Result<tool::RoutingSpec> routing = tool::RoutingSpec::parse(options.routing);
    const Status status = routing ? run(options) : routing.status();
    if (status.ok())
      return;
    fmt::print(stderr, "moec-bench-loop {}: {}\n", name, status.message());
    exitCode = moec::exitCode(status.code());
  });
}

} // namespace

int main(int argc, char **argv) {
  tool::BenchOptions options;
  options.repeats = 30;
  options.environment = Environment::read(environ);
  int exitCode = 0;
  CLI::App app("Times what the recompilation loop does to steps.", "moec-bench-loop");
  app.footer(footer);
  app.require_subcommand(1);
  addVerb(app, "p99", "a step's 99th percentile while the background compiles", options, exitCode, bench::runP99);
  addVerb(app, "swap", "what a swap costs who makes it, and the steps beside it", options, exitCode, bench::runSwap);
  if (int usage = tool::parseCommandLine(app, argc, argv))
    return usage;
  return exitCode;
}
