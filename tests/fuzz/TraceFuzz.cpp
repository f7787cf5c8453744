// A decision trace. What is accepted is written again as the same events, and small traces are
// replayed and tried: the policy and the planner must take whatever a file makes them of.
#include "runtime/trace/Replay.h"
#include "runtime/trace/WhatIf.h"
#include "tests/fuzz/Check.h"

#include <algorithm>
#include <vector>

using namespace moec;
using namespace moec::fuzz;

namespace {

bool printable(const std::string &text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

/// Planning takes time with the number of experts, and a fuzzer needs many runs.
bool smallEnough(const TraceFile &trace) {
  size_t experts = 0;
  for (const LayerSetup &layer : trace.setup.layers)
    experts += layer.shape.experts;
  return experts <= 16 && trace.lines.size() <= 24;
}

void tryAgain(const TraceFile &trace) {
  Result<WhatIf> whatIf = WhatIf::of(trace);
  expect(whatIf.ok() == trace.gaps.empty(), "a trace without gaps can be tried");
  if (!whatIf)
    return;
  Result<PolicySetup> other = changedSetup(trace.setup, {{"slot_align", "16"}, {"max_tile_heights", "2"}});
  expect(other.ok(), "limits of a trace can be changed");
  const std::vector<PolicySetup> setups = {trace.setup, *other};
  const std::vector<WhatIfRun> runs = {whatIf->tried(trace.setup), whatIf->tried(*other)};
  const WhatIfRun best = whatIf->best(setups, runs);
  for (size_t i = 0; i < best.windowNs.size(); ++i)
    expect(best.windowNs[i] <= runs[0].windowNs[i] && best.windowNs[i] <= runs[1].windowNs[i], "the best is the best");
}

/// A trace of one segment, or of two with an empty line between them.
std::vector<TraceText> segmentsOf(const std::string &text) {
  const size_t at = text.find("\n\n");
  if (at == std::string::npos)
    return {{"fuzz.jsonl", text}};
  return {{"fuzz.jsonl.1", text.substr(0, at + 1)}, {"fuzz.jsonl", text.substr(at + 2)}};
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string text(reinterpret_cast<const char *>(data), size);
  Result<TraceFile> trace = parseTrace(segmentsOf(text));
  if (!trace) {
    const std::string &message = trace.status().message();
    expect(trace.status().code() == Code::InvalidArgument, "a malformed trace is InvalidArgument");
    expect(message.find("fuzz.jsonl") == 0, "an error names the file");
    expect(message.size() < 2000 && printable(message), "an error is short and printable");
    return 0;
  }
  for (const std::string &problem : trace->problems)
    expect(problem.find("fuzz.jsonl") == 0 && printable(problem), "a problem names file and line");
  std::string header = traceHeader(trace->info, trace->setup);
  for (const TraceLine &line : trace->lines) {
    std::string written = traceLine(line.n, line.event);
    Result<TraceFile> again = parseTrace({{"again", header + "\n" + written + "\n"}});
    expect(again && again->lines.size() == 1, "what was written can be read");
    expect(traceLine(again->lines[0].n, again->lines[0].event) == written, "and says the same");
  }
  if (smallEnough(*trace)) {
    (void)replayTrace(*trace).ok();
    tryAgain(*trace);
  }
  return 0;
}
