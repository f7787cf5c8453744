// What tools read and write: whole files, and stdout.
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moec::tool {

/// A whole file. Errors: NotFound, InvalidArgument (a folder), Failure (the system's reason).
Result<std::string> readWholeFile(const std::string &path);

/// Writes a result to stdout. Error: Failure, where stdout is closed or full: a result that nobody got is no success.
Status printResult(std::string_view text);

/// A program's last act: `code`, or 1 with a complaint of `tool` on stderr where what was printed to stdout before did
/// not arrive.
int finishStdout(const char *tool, int code);

/// Writes `bytes` to `path`; "-" is stdout. A regular file appears in one step: it is written beside its final place
/// and renamed, so an error leaves neither half a file nor a changed one. Error: Failure, naming the path.
Status writeOutput(const std::string &path, std::string_view bytes);
Status writeOutput(const std::string &path, std::span<const uint8_t> bytes);

} // namespace moec::tool
