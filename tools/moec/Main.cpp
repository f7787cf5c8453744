#include "tools/common/CommandLine.h"
#include "tools/common/Files.h"
#include "tools/moec/Bench.h"
#include "tools/moec/Verbs.h"

#include "runtime/Version.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <unistd.h>

namespace {

constexpr const char *footer = R"(Example:
  moec import tests/golden/mixtral -o model.mlir
  moec compile model.mlir --explain -o model.moecpkg
Exit codes: 0 ok, 1 other failure, 2 usage, 3 invalid model, 4 compile failed, 5 device missing, 6 cache or package
corrupt, 7 verification mismatch, 8 peer failed, 9 compile forbidden but needed.)";

} // namespace

int main(int argc, char **argv) {
  using namespace moec;
  tool::Tool tool{Environment::read(environ)};
  CLI::App app("Compiles, runs and looks after Mixture-of-Experts layers.", "moec");
  app.set_version_flag("--version", fmt::format("moec {}", versionText()));
  app.footer(footer);
  app.require_subcommand(1);
  tool::addImport(app, tool);
  tool::addCompile(app, tool);
  tool::addRun(app, tool);
  tool::addBench(app, tool);
  tool::addInspect(app, tool);
  tool::addPlace(app, tool);
  tool::addCache(app, tool);
  tool::addDoctor(app, tool);
  for (const std::string &warning : tool.environment.warnings)
    fmt::print(stderr, "moec: warning: {}\n", warning);
  if (int usage = tool::parseCommandLine(app, argc, argv))
    return usage;
  return tool::finishStdout("moec", tool.exitCode);
}
