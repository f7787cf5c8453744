// One line of a trace into its event.
#pragma once

#include "runtime/trace/Events.h"

namespace moec {

struct TraceHeader {
  TraceInfo info;
  PolicySetup setup;
};
struct NumberedEvent {
  uint64_t n = 0;
  TraceEvent event;
};

/// Errors: InvalidArgument, naming the key.
Result<TraceHeader> readTraceHeader(const std::string &line);
/// `setup` says how many experts each layer has. Errors: InvalidArgument, naming the key.
Result<NumberedEvent> readTraceLine(const std::string &line, const PolicySetup &setup);

} // namespace moec
