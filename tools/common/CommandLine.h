// A command line parsed, with every complaint as the tools word it: what was wrong, what was probably meant, where the
// help is.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace moec::tool {

/// Parses the command line and runs the callbacks of what it names. Help and versions go to stdout, complaints to
/// stderr.
///
/// Returns 0, or 2 for a command line that is not understood, or for none at all. What the callbacks themselves come to
/// is theirs to keep.
int parseCommandLine(CLI::App &app, int argc, const char *const *argv);

/// The candidate that `word` is probably a misspelling of, or "": at most one edit in three characters away (an
/// insertion, a deletion, a replacement, or two neighbours swapped).
std::string nearestWord(const std::string &word, const std::vector<std::string> &candidates);

} // namespace moec::tool
