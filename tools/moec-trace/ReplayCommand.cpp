#include "tools/moec-trace/Commands.h"

#include "runtime/trace/Replay.h"

#include <nlohmann/json.hpp>

namespace moec {

int replayCommand(const TraceFile &trace, Format format) {
  Result<ReplayReport> report = replayTrace(trace);
  if (!report)
    return fail(report.status());
  if (format == Format::Json) {
    nlohmann::ordered_json json = {{"schema", "moec.trace-replay"},     {"schema_version", 1},
                                   {"matches", report->matches},        {"predictions", report->predictions},
                                   {"decisions", report->decisions},    {"judgements", report->judgements},
                                   {"first_difference", report->where}, {"recorded", report->recorded},
                                   {"replayed", report->replayed}};
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else if (report->matches) {
    fmt::print("{} decisions, {} predictions and {} judgements came out byte for byte\n", report->decisions,
               report->predictions, report->judgements);
  } else {
    fmt::print("{}: the first line that differs\n  recorded: {}\n  replayed: {}\n", report->where,
               report->recorded.empty() ? "(nothing)" : report->recorded,
               report->replayed.empty() ? "(nothing)" : report->replayed);
  }
  return report->matches ? 0 : exitCode(Code::VerificationMismatch);
}

} // namespace moec
