#include "tools/common/CommandLine.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace moec::tool {
namespace {

/// Edits between two words: optimal string alignment.
size_t editDistance(const std::string &a, const std::string &b) {
  std::vector<size_t> before, above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j)
    above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = above;
    above = row;
  }
  return above[b.size()];
}

/// The innermost verb that was understood.
CLI::App &innermost(CLI::App &app) {
  CLI::App *at = &app;
  while (!at->get_subcommands().empty())
    at = at->get_subcommands().front();
  return *at;
}

std::string fullName(const CLI::App &app) {
  std::string name = app.get_name();
  for (const CLI::App *parent = app.get_parent(); parent; parent = parent->get_parent())
    name = parent->get_name() + " " + name;
  return name;
}

std::vector<std::string> optionNames(const CLI::App &app) {
  std::vector<std::string> names;
  for (const CLI::Option *option : app.get_options())
    for (const std::string &name : option->get_lnames())
      names.push_back("--" + name);
  return names;
}

std::vector<std::string> verbNames(CLI::App &app) {
  std::vector<std::string> names;
  for (const CLI::App *verb : app.get_subcommands([](CLI::App *) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

/// Says what `word` is not, and what it may have been meant to be.
std::string describeUnexpected(CLI::App &app, const std::string &word) {
  const bool isOption = word.size() > 1 && word[0] == '-';
  const std::vector<std::string> verbs = verbNames(app);
  const std::string bare = isOption ? word.substr(0, word.find('=')) : word;
  const std::string nearest = nearestWord(bare, isOption ? optionNames(app) : verbs);
  const char *what = isOption ? "unknown option" : verbs.empty() ? "unexpected argument" : "unknown verb";
  return fmt::format("{} '{}'{}", what, bare, nearest.empty() ? "" : fmt::format("; did you mean '{}'?", nearest));
}

} // namespace

std::string nearestWord(const std::string &word, const std::vector<std::string> &candidates) {
  std::string nearest;
  size_t least = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string &candidate : candidates)
    if (size_t distance = editDistance(word, candidate); distance < least) {
      least = distance;
      nearest = candidate;
    }
  return nearest;
}

int parseCommandLine(CLI::App &app, int argc, const char *const *argv) {
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success &asked) { // help or version
    app.exit(asked);
    return 0;
  } catch (const CLI::ParseError &error) {
    CLI::App &verb = innermost(app);
    // What was not understood explains what is missing, so it is said instead.
    const std::vector<std::string> unexpected = app.remaining(true);
    if (argc <= 1) {
      fmt::print(stderr, "{}", app.help());
      return 2;
    }
    fmt::print(stderr, "{}: {}\nSee '{} --help'.\n", fullName(verb),
               unexpected.empty() ? error.what() : describeUnexpected(verb, unexpected.front()), fullName(verb));
    return 2;
  }
}

} // namespace moec::tool
