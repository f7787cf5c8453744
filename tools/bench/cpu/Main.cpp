// moec-bench-cpu: the CPU path beside its rivals, each in one run.
#include "tools/bench/cpu/CpuBench.h"
#include "tools/common/CommandLine.h"

#include <CLI/CLI.hpp>
#include <unistd.h>

namespace {

using namespace moec;

constexpr const char *footer = R"(Example:
  moec-bench-cpu library tests/golden/configs/olmoe-1b-7b --tokens 16,128,256
Exit codes: as moec; 7 where two ways to compute the same layer differ.)";

CLI::App *addVerb(CLI::App &app, const char *name, const char *description, bench::CpuBenchOptions &options,
                  int &exitCode, Status (*run)(const bench::CpuBenchOptions &)) {
  CLI::App *verb = app.add_subcommand(name, description);
  verb->add_option("model", options.model, "Hugging Face folder, config.json, .mlir or package")->required();
  verb->add_option("--weights", options.weights, "checkpoint folder or file, or random:seed=N")->capture_default_str();
  verb->add_option("--target", options.target, "cpu, cpu-avx2, cpu-avx512, cpu-avx512bf16")->capture_default_str();
  verb->add_option("--threads", options.threads, "threads of a step, ours and the rivals'; 0: all processors")
      ->capture_default_str();
  verb->add_option("--tokens", options.tokens, "token counts, comma-separated")->delimiter(',');
  verb->add_option("--routing", options.routing, "uniform, zipf:EXPONENT or hot:SHARE")->capture_default_str();
  verb->add_option("--repeats", options.repeats, "blocks per contestant, in turns")
      ->check(CLI::Range(5, 100))
      ->capture_default_str();
  verb->add_option("--format", options.format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  verb->add_option("--cache-dir", options.cacheDir, "artefact cache; default MOEC_CACHE_DIR or ~/.cache/moec");
  verb->callback([=, &options, &exitCode] {
    Result<tool::RoutingSpec> routing = tool::RoutingSpec::parse(options.routing);
    const Status status = routing ? run(options) : routing.status();
    if (status.ok())
      return;
    fmt::print(stderr, "moec-bench-cpu {}: {}\n", name, status.message());
    exitCode = moec::exitCode(status.code());
  });
  return verb;
}

} // namespace

int main(int argc, char **argv) {
  bench::CpuBenchOptions options;
  options.repeats = 7;
  options.environment = Environment::read(environ);
  int exitCode = 0;
  CLI::App app("Times moec's CPU path beside its rivals.", "moec-bench-cpu");
  app.footer(footer);
  app.require_subcommand(1);
  addVerb(app, "library", "generation 0 and a loop of oneDNN products over experts", options, exitCode,
          bench::runLibrary)
      ->add_option("--routing-out", options.routingFile, "JSON file for the routing of all steps, for peers.py");
  addVerb(app, "static", "generation 0 and other static sets of tile heights", options, exitCode, bench::runStatic);
  addVerb(app, "compile", "the time to compile a layer, and to find it in the cache", options, exitCode,
          bench::runCompileTimes);
  if (int usage = tool::parseCommandLine(app, argc, argv))
    return usage;
  return exitCode;
}
