// The verbs of `moec`, one file each, and what is handed to all of them.
#pragma once

#include "compiler/core/Status.h"
#include "runtime/Environment.h"

#include <functional>
#include <memory>
#include <string>

namespace CLI {
class App;
}

namespace moec::tool {

struct Tool {
  Environment environment;
  int exitCode = 0; // what the verb that ran came to
};

void addImport(CLI::App &app, Tool &tool);
void addCompile(CLI::App &app, Tool &tool);
void addRun(CLI::App &app, Tool &tool);
void addInspect(CLI::App &app, Tool &tool);
void addCache(CLI::App &app, Tool &tool);
void addDoctor(CLI::App &app, Tool &tool);
void addPlace(CLI::App &app, Tool &tool);

/// What a verb is called, and what its help says.
struct VerbText {
  const char *name;
  const char *description;
  const char *footer; // begins with a runnable example
};

/// Adds a verb that runs `action`; an error of it goes to stderr as "moec VERB: message" and becomes the exit code.
CLI::App *addVerb(CLI::App &app, Tool &tool, const VerbText &text, std::function<Status()> action);

/// Adds --format.
void addFormat(CLI::App *verb, std::string &format);

/// A line on stderr, "moec: text": what a user should know but no program reads.
void note(const std::string &text);

} // namespace moec::tool
