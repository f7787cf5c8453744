#include "tools/moec-trace/Commands.h"

#include <cstdio>

namespace moec {

int fail(const Status &status) {
  fmt::print(stderr, "moec-trace: {}\n", status.message());
  return exitCode(status.code());
}

void warnProblems(const TraceFile &trace) {
  constexpr size_t most = 10;
  for (size_t i = 0; i < std::min(most, trace.problems.size()); ++i)
    fmt::print(stderr, "moec-trace: warning: {}\n", trace.problems[i]);
  if (trace.problems.size() > most)
    fmt::print(stderr, "moec-trace: warning: and {} more\n", trace.problems.size() - most);
  if (!trace.gaps.empty())
    fmt::print(stderr, "moec-trace: warning: {} of the trace's lines are missing: {}{}\n",
               trace.gaps.size() == 1 ? "a part" : "parts", trace.gaps.front(), trace.gaps.size() > 1 ? ", ..." : "");
}

} // namespace moec
