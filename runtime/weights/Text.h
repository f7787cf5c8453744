// How names and shapes that come from a file appear in messages.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moec {

/// `text` in single quotes, fit for a terminal and a log line: everything but printable ASCII becomes \xNN,
/// and text beyond 160 characters is cut. Names in a checkpoint are written by whoever made it.
std::string inQuotes(std::string_view text);

/// A shape as messages show it, e.g. "[128, 768, 2048]"; "[]" has rank 0.
std::string shapeText(std::span<const int64_t> shape);

} // namespace moec
