// The commands of moec-trace: a trace in, text or JSON on stdout. Each returns its exit code.
#pragma once

#include "runtime/trace/TraceReader.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec {

enum class Format : uint8_t { Text, Json };

/// What happened: layers, windows, decisions by verdict and reason, changes with predicted and
/// measured gain.
int summaryCommand(const TraceFile &trace, Format format);
/// Why, in sentences; one decision or all.
int explainCommand(const TraceFile &trace, std::optional<uint64_t> decision, Format format);
/// Decides again and compares; 7 where a line differs.
int replayCommand(const TraceFile &trace, Format format);
/// Which policies `what-if` tries.
struct WhatIfOptions {
  std::vector<std::string> set; // "min_gain=0.01", all of them together
  std::string sweep;            // "min_gain=0.01,0.03": each value by itself, with what is set; empty: none
};
/// What other policies would have done with the recorded routing, beside what was done and the best that could have
/// been.
int whatIfCommand(const TraceFile &trace, const WhatIfOptions &options, Format format);
/// The keys that its options take, for its help.
std::string whatIfKeys();
/// One self-contained HTML file; "-" writes it to stdout.
int renderCommand(const TraceFile &trace, const std::string &output);
/// The routing seen last, as a profile that `moec compile --profile` takes; "-" writes it to
/// stdout.
int profileCommand(const TraceFile &trace, const std::string &output);

/// "moec-trace: message" on stderr; the status's exit code.
int fail(const Status &status);
/// What the reader could not read, on stderr.
void warnProblems(const TraceFile &trace);

} // namespace moec
