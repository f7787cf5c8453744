// Numbers the events of a run and hands them to a sink as lines.
#pragma once

#include "runtime/trace/Events.h"
#include "runtime/trace/LineWriter.h"

#include <memory>

namespace moec {

/// The always-on record of the loop. One thread at a time; a null sink makes it silent.
class DecisionTrace {
public:
  explicit DecisionTrace(LineSink *sink = nullptr) : sink(sink) {}

  void write(const TraceEvent &event) {
    if (sink && !sink->write(traceLine(next, event)))
      ++dropped;
    ++next;
  }
  /// Lines that the sink had no room for. Their numbers are missing in the file.
  uint64_t droppedLines() const { return dropped; }

private:
  LineSink *sink;
  uint64_t next = 1;
  uint64_t dropped = 0;
};

/// A file sink whose every segment begins with the header of `setup`.
/// Errors: Failure (the file cannot be written).
Result<std::unique_ptr<LineWriter>> openDecisionTrace(LineWriterOptions options, TraceInfo info, PolicySetup setup);

/// Per-step counts, on request: what a what-if needs. One thread at a time.
class RoutingTrace {
public:
  explicit RoutingTrace(LineSink *sink) : sink(sink) {}
  void write(const LayerObservation &sample);

  static std::string header(const TraceInfo &info, const PolicySetup &setup);

private:
  LineSink *sink;
  uint64_t next = 1;
};

} // namespace moec
