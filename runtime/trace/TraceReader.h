// Reads a decision trace: whole, truncated, rotated or damaged.
#pragma once

#include "runtime/trace/Events.h"

#include <string>
#include <vector>

namespace moec {

struct TraceLine {
  size_t number = 0; // in its file, from 1
  uint64_t n = 0;    // in the run
  std::string file;
  std::string text;
  TraceEvent event;
};

struct TraceFile {
  TraceInfo info; // of the oldest segment
  PolicySetup setup;
  std::vector<TraceLine> lines;
  /// What could not be read, as "file:line: what". A truncated last line is one; the rest of the
  /// trace stands.
  std::vector<std::string> problems;
  /// Why decisions cannot all be replayed, where they cannot: a missing first segment or lost
  /// lines.
  std::vector<std::string> gaps;
};

/// One file of a run, and what messages call it.
struct TraceText {
  std::string name;
  std::string text;
};

/// Reads the segments of one run, oldest first. Segments of another run are left out, with a
/// problem. Errors: InvalidArgument where no header can be read, naming the file, the line and the
/// key.
Result<TraceFile> parseTrace(const std::vector<TraceText> &segments);

/// Reads `path` and, before it, its rotated segments path.N ... path.1.
/// Errors: as parseTrace; NotFound and Failure for files.
Result<TraceFile> readTrace(const std::string &path);

} // namespace moec
