#include "tools/moec-trace/Commands.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace moec {

int fail(const Status &status) {
  fmt::print(stderr, "moec-trace: {}\n", status.message());
  return exitCode(status.code());
}

Status writeText(const std::string &path, const std::string &text) {
  if (path == "-") {
    bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
    return written ? Status() : makeError(Code::Failure, "cannot write to stdout: {}", std::strerror(errno));
  }
  std::FILE *file = std::fopen(path.c_str(), "wb");
  if (!file)
    return makeError(Code::Failure, "cannot write {}: {}", path, std::strerror(errno));
  bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  bool closed = std::fclose(file) == 0;
  return written && closed ? Status() : makeError(Code::Failure, "cannot write {}: {}", path, std::strerror(errno));
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
