#include "runtime/trace/TraceReader.h"

#include "runtime/trace/EventsRead.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace moec {

namespace {

// Longer than the longest line of 65,536 experts.
constexpr size_t mostLineBytes = 8u << 20;
constexpr size_t mostProblems = 1000;

struct Segment {
  std::string name;
  TraceHeader header;
  std::vector<TraceLine> lines;
};

void report(TraceFile &trace, std::string problem) {
  if (trace.problems.size() < mostProblems)
    trace.problems.push_back(std::move(problem));
}

/// Calls `take(number, line, whole)` for each line; `whole` is false for a last one without
/// newline.
template <typename Take> void eachLine(const std::string &text, Take take) {
  size_t begin = 0;
  for (size_t number = 1; begin < text.size(); ++number) {
    size_t end = text.find('\n', begin);
    bool whole = end != std::string::npos;
    end = whole ? end : text.size();
    take(number, text.substr(begin, end - begin), whole);
    begin = end + 1;
  }
}

Result<Segment> readSegment(const TraceText &source, TraceFile &trace) {
  Segment segment{.name = source.name, .header = {}, .lines = {}};
  Status error = makeError(Code::InvalidArgument, "{}: empty; a trace begins with a header line", source.name);
  eachLine(source.text, [&](size_t number, std::string line, bool whole) {
    if (number == 1) {
      Result<TraceHeader> header = readTraceHeader(line);
      error = header ? Status() : header.status().withContext("{}:1", source.name);
      if (header)
        segment.header = std::move(*header);
      return;
    }
    if (!error.ok() || line.empty())
      return;
    if (line.size() > mostLineBytes)
      return report(trace, fmt::format("{}:{}: longer than {} bytes", source.name, number, mostLineBytes));
    Result<NumberedEvent> event = readTraceLine(line, segment.header.setup);
    if (!event)
      return report(trace, fmt::format("{}:{}: {}{}", source.name, number,
                                       whole ? "" : "cut off before its end: ", event.status().message()));
    segment.lines.push_back({number, event->n, source.name, std::move(line), std::move(event->event)});
  });
  if (!error.ok())
    return error;
  return segment;
}

/// Lines of one segment are read as the layers of its own header want them.
bool sameLayers(const PolicySetup &a, const PolicySetup &b) {
  return std::equal(a.layers.begin(), a.layers.end(), b.layers.begin(), b.layers.end(),
                    [](const LayerSetup &one, const LayerSetup &other) {
                      return one.layer == other.layer && one.shape == other.shape;
                    });
}

void noteGaps(TraceFile &trace) {
  if (trace.info.segment > 0)
    trace.gaps.push_back(
        fmt::format("the trace's beginning was rotated away: its oldest file is segment {}", trace.info.segment));
  uint64_t expected = trace.info.segment > 0 && !trace.lines.empty() ? trace.lines.front().n : 1;
  for (const TraceLine &line : trace.lines) {
    if (line.n != expected && trace.gaps.size() < mostProblems)
      trace.gaps.push_back(fmt::format("{}:{}: event {} follows where {} was expected: lines were lost", line.file,
                                       line.number, line.n, expected));
    expected = line.n + 1;
  }
}

Result<std::string> readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return makeError(errno == ENOENT ? Code::NotFound : Code::Failure, "cannot read {}: {}", path,
                     std::strerror(errno));
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    return makeError(Code::Failure, "cannot read {}: it is a folder", path);
  std::ostringstream text;
  text << file.rdbuf(); // fails where there is nothing to read; parseTrace says what is missing
  if (file.bad())
    return makeError(Code::Failure, "cannot read {}: {}", path, std::strerror(errno));
  return text.str();
}

} // namespace

Result<TraceFile> parseTrace(const std::vector<TraceText> &segments) {
  if (segments.empty())
    return makeError(Code::InvalidArgument, "no trace given");
  TraceFile trace;
  // The newest file says which run this is about.
  Result<Segment> newest = readSegment(segments.back(), trace);
  if (!newest)
    return newest.status();
  std::vector<Segment> run;
  for (size_t i = 0; i + 1 < segments.size(); ++i) {
    Result<Segment> older = readSegment(segments[i], trace);
    if (!older)
      report(trace, older.status().message());
    else if (older->header.info.run != newest->header.info.run)
      report(trace, fmt::format("{}: left out, it is of another run", segments[i].name));
    else if (!sameLayers(older->header.setup, newest->header.setup))
      report(trace, fmt::format("{}: left out, its layers are not those of {}", segments[i].name, newest->name));
    else
      run.push_back(std::move(*older));
  }
  run.push_back(std::move(*newest));
  trace.info = run.front().header.info;
  trace.setup = std::move(run.front().header.setup);
  for (Segment &segment : run)
    for (TraceLine &line : segment.lines)
      trace.lines.push_back(std::move(line));
  noteGaps(trace);
  return trace;
}

Result<TraceFile> readTrace(const std::string &path) {
  std::vector<TraceText> segments;
  Result<std::string> newest = readFile(path);
  if (!newest)
    return newest.status();
  segments.push_back({path, std::move(*newest)});
  for (uint32_t i = 1;; ++i) {
    std::string name = fmt::format("{}.{}", path, i);
    Result<std::string> older = readFile(name);
    if (!older)
      break;
    segments.insert(segments.begin(), {name, std::move(*older)});
  }
  return parseTrace(segments);
}

} // namespace moec
