#include "tools/moec-trace/Commands.h"

#include "runtime/Version.h"
#include "tools/common/CommandLine.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>

#include <cstdio>

using namespace moec;

namespace {

struct Arguments {
  std::string command; // empty where only help was asked for
  std::string trace;
  std::string output;
  std::string format = "text";
  std::optional<uint64_t> decision;
  WhatIfOptions whatIf;

  Format wanted() const { return format == "json" ? Format::Json : Format::Text; }
};

CLI::App *addCommand(CLI::App &app, const char *name, const char *what, const char *example, Arguments &arguments) {
  CLI::App *command = app.add_subcommand(name, what);
  command->callback([&arguments, name] { arguments.command = name; });
  command
      ->add_option("TRACE", arguments.trace, "decision trace; its rotated segments TRACE.1, TRACE.2, ... are read too")
      ->required();
  command->footer(std::string("Example:\n  ") + example);
  return command;
}

/// A minus would wrap around.
std::string isWholeNumber(const std::string &text) {
  return text.find_first_not_of("0123456789") == std::string::npos ? "" : "'" + text + "' is no number of a decision";
}

void addFormat(CLI::App *command, Arguments &arguments) {
  command->add_option("--format", arguments.format, "text or json")->check(CLI::IsMember({"text", "json"}));
}

int run(const Arguments &arguments) {
  Result<TraceFile> trace = readTrace(arguments.trace);
  if (!trace)
    return fail(trace.status());
  warnProblems(*trace);
  const std::string &command = arguments.command;
  if (command == "summary")
    return summaryCommand(*trace, arguments.wanted());
  if (command == "explain")
    return explainCommand(*trace, arguments.decision, arguments.wanted());
  if (command == "replay")
    return replayCommand(*trace, arguments.wanted());
  if (command == "what-if")
    return whatIfCommand(*trace, arguments.whatIf, arguments.wanted());
  if (command == "render")
    return renderCommand(*trace, arguments.output);
  return profileCommand(*trace, arguments.output);
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app{"Reads the decision traces that a moec session writes: what was recompiled, why, and "
               "whether it paid.",
               "moec-trace"};
  app.require_subcommand(1);
  app.set_version_flag("--version", fmt::format("moec-trace {}", versionText()));
  app.footer("Exit codes: 0 ok, 1 a file that cannot be read or written, 2 usage or a file that is no "
             "trace, 7 a replay that decided differently.\n"
             "Example:\n"
             "  moec bench tests/golden/olmoe --drift=sudden --pack-budget=40% --seconds 2 --trace "
             "loop.jsonl\n"
             "  moec-trace summary loop.jsonl");
  Arguments arguments;
  arguments.output = "-";
  addFormat(addCommand(app, "summary", "What happened: decisions, changes, gains predicted and measured",
                       "moec-trace summary loop.jsonl --format=json", arguments),
            arguments);
  CLI::App *explain = addCommand(app, "explain", "Why each decision was made, with its numbers",
                                 "moec-trace explain loop.jsonl --decision 1", arguments);
  explain->add_option("--decision", arguments.decision, "only the decision with this number")
      ->check(CLI::Validator(isWholeNumber, "NUMBER"));
  addFormat(explain, arguments);
  addFormat(addCommand(app, "replay", "Decide again from the recorded counts; every line must come out byte for byte",
                       "moec-trace replay loop.jsonl", arguments),
            arguments);
  CLI::App *whatIf = addCommand(app, "what-if", "What other policies would have done with this routing, and gained",
                                "moec-trace what-if loop.jsonl --sweep min_gain=0.01,0.03,0.1", arguments);
  whatIf->add_option("--set", arguments.whatIf.set,
                     "KEY=VALUE: a number of the trace header's policy or limits, or mode=auto|manual|off|strict; any "
                     "number of them, tried together");
  whatIf->add_option("--sweep", arguments.whatIf.sweep, "KEY=VALUE,VALUE,...: a try for each value, with what is set");
  whatIf->footer(whatIf->get_footer() + "\n" + whatIfKeys() +
                 "\nThe first_... are what a policy believes of its first build, not what builds then take.\n"
                 "pack_budget_bytes also takes a share of all experts: 40%.");
  addFormat(whatIf, arguments);
  addCommand(app, "render", "Timeline, heat-map and drift chart as one HTML file",
             "moec-trace render loop.jsonl -o report.html", arguments)
      ->add_option("-o,--output", arguments.output, "HTML file, or - for stdout");
  addCommand(app, "profile", "The routing seen last, as a profile to compile for",
             "moec-trace profile loop.jsonl -o profile.json", arguments)
      ->add_option("-o,--output", arguments.output, "profile file, or - for stdout");
  if (int usage = tool::parseCommandLine(app, argc, argv))
    return usage;
  return tool::finishStdout("moec-trace", arguments.command.empty() ? 0 : run(arguments));
}
