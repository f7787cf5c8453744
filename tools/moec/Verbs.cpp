#include "tools/moec/Verbs.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>

namespace moec::tool {

CLI::App *addVerb(CLI::App &app, Tool &tool, const VerbText &text, std::function<Status()> action) {
  CLI::App *verb = app.add_subcommand(text.name, text.description);
  verb->footer(text.footer);
  const std::string name = app.get_parent() ? fmt::format("{} {}", app.get_name(), text.name) : text.name;
  verb->callback([&tool, name, action = std::move(action)] {
    Status status = action();
    if (status.ok())
      return;
    fmt::print(stderr, "moec {}: {}\n", name, status.message());
    tool.exitCode = exitCode(status.code());
  });
  return verb;
}

void addFormat(CLI::App *verb, std::string &format) {
  verb->add_option("--format", format, "of the result on stdout: text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

void note(const std::string &text) { fmt::print(stderr, "moec: {}\n", text); }

} // namespace moec::tool
