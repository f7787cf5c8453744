#include "tests/unit/recompile/Simulation.h"

#include "runtime/trace/EventsJson.h"
#include "tests/unit/Catch.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

using namespace moec;
using namespace moec::test;

namespace {

std::string recordedTrace() {
  static const std::string text = [] {
    Simulation simulation;
    simulation.run(600, domain(32));
    simulation.loop->stop();
    return simulation.traceText();
  }();
  return text;
}

class Folder {
public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moec-trace-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

std::string slurp(const std::filesystem::path &path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

} // namespace

TEST_CASE("every event reads back to the same line", "[recompile][trace]") {
  Result<TraceFile> trace = parseTrace({{"t", recordedTrace()}});
  REQUIRE(trace);
  CHECK(trace->problems.empty());
  CHECK(trace->gaps.empty());
  REQUIRE(trace->lines.size() > 20);
  for (const TraceLine &line : trace->lines)
    CHECK(traceLine(line.n, line.event) == line.text);
  CHECK(recordedTrace().substr(0, recordedTrace().find('\n')) == traceHeader(trace->info, trace->setup));
}

TEST_CASE("a layer's shape says that it has biases, and older traces say nothing", "[recompile][trace]") {
  LayerShape shape = olmoeShape();
  CHECK_FALSE(toJson(shape).contains("expert_bias"));
  for (bool biased : {false, true}) {
    shape.expertBias = biased;
    Result<JsonDocument> document = JsonDocument::parse(toJson(shape).dump(), "shape", Code::InvalidArgument);
    REQUIRE(document);
    CHECK(readShape(document->root()) == shape);
    CHECK(document->status().ok());
  }
}

TEST_CASE("a layer's shape says that its weights are on the experts' input, and older traces say nothing",
          "[recompile][trace]") {
  LayerShape shape = olmoeShape();
  CHECK_FALSE(toJson(shape).contains("weight_on_input"));
  shape.weightOnInput = true;
  Result<JsonDocument> document = JsonDocument::parse(toJson(shape).dump(), "shape", Code::InvalidArgument);
  REQUIRE(document);
  CHECK(readShape(document->root()) == shape);
  CHECK(document->status().ok());
}

TEST_CASE("a layer's shape says that its shared expert is like the routed ones, and older traces say nothing",
          "[recompile][trace]") {
  LayerShape shape = olmoeShape();
  CHECK_FALSE(toJson(shape).contains("shared_alike"));
  shape.sharedIntermediate = shape.intermediate;
  shape.sharedAlike = true;
  Result<JsonDocument> document = JsonDocument::parse(toJson(shape).dump(), "shape", Code::InvalidArgument);
  REQUIRE(document);
  CHECK(readShape(document->root()) == shape);
  CHECK(document->status().ok());
}

TEST_CASE("a layer's shape says how experts are stored, and older traces say nothing", "[recompile][trace]") {
  LayerShape shape = olmoeShape();
  CHECK_FALSE(toJson(shape).contains("expert_format"));
  shape.expertFormat = WeightFormat::BlockE4M3;
  OrderedJson json = toJson(shape);
  auto read = [&json](LayerShape &into) {
    Result<JsonDocument> document = JsonDocument::parse(json.dump(), "shape", Code::InvalidArgument);
    REQUIRE(document);
    into = readShape(document->root());
    return document->status();
  };
  LayerShape again;
  CHECK(read(again).ok());
  CHECK(again == shape);
  json["expert_format"] = "e5m2";
  CHECK(read(again).message() ==
        "shape: expert_format: unknown format of weights 'e5m2': expected plain or block_e4m3");
}

TEST_CASE("each kind of event keeps every field on its way through a line", "[recompile][trace]") {
  PolicySetup setup;
  std::vector<TraceEvent> events = {
      HookEvent{7, true, true, Verdict::Keep},
      HookEvent{7, false, false, Verdict::Compile},
      TickEvent{12, true},
      SwapEvent{13, 4, 3},
      Measured{14, 4, 48, 0.1 + 0.2, 0.25, 1.0 / 3},
      JudgementRecord{15, 4, true, 0.1, 1e-17, -0.1, 0.2, "quote \" and \xc3\xa9"},
      RollbackEvent{16, 4, 3},
      ErrorEvent{17, "alternate", "line\nbreak"},
      EndEvent{18, UINT64_MAX, 2, 3},
      BuildOutcome{19, Code::VerificationMismatch, "off by 0.5", {5, 6, true, 1.5, 2.5, 3.5, 4.5, 5.5, 1ull << 40}},
  };
  for (const TraceEvent &event : events) {
    std::string line = traceLine(3, event);
    std::string text = recordedTrace().substr(0, recordedTrace().find('\n') + 1);
    Result<TraceFile> trace = parseTrace({{"t", text + line + "\n"}});
    REQUIRE(trace);
    // Hooks and judgements name layers freely; nothing here needs the header's.
    INFO(line << (trace->problems.empty() ? "" : trace->problems[0]));
    REQUIRE(trace->lines.size() == 1);
    CHECK(traceLine(3, trace->lines[0].event) == line);
  }
}

TEST_CASE("bytes that are no UTF-8 in an error's text do not break the line", "[recompile][trace]") {
  std::string line = traceLine(1, ErrorEvent{0, "build", "bad \xff\xfe byte"});
  CHECK(line.find("bad ") != std::string::npos);
  CHECK(line.find('\xff') == std::string::npos);
}

TEST_CASE("a trace cut at any byte is read up to there, with a named problem", "[recompile][trace]") {
  const std::string whole = recordedTrace();
  size_t header = whole.find('\n');
  std::mt19937 random(3);
  for (int i = 0; i < 60; ++i) {
    size_t cut = header + 2 + random() % (whole.size() - header - 2);
    Result<TraceFile> trace = parseTrace({{"t", whole.substr(0, cut)}});
    REQUIRE(trace);
    bool lineEnds = whole[cut - 1] == '\n' || whole[cut] == '\n';
    CHECK(trace->problems.empty() == lineEnds);
    if (!lineEnds)
      CHECK(trace->problems[0].find("cut off before its end") != std::string::npos);
    // What is left still replays: nothing before the cut depends on what came after.
    Result<ReplayReport> report = replayTrace(*trace);
    REQUIRE(report);
    CHECK(report->matches);
  }
}

TEST_CASE("a trace without a readable header is an error that says what is wrong", "[recompile][trace]") {
  auto errorOf = [](const std::string &text) {
    Result<TraceFile> trace = parseTrace({{"t.jsonl", text}});
    return trace ? std::string("no error") : trace.status().message();
  };
  CHECK(errorOf("").find("t.jsonl: empty") == 0);
  CHECK(errorOf("hello\n").find("t.jsonl:1: trace header: not valid JSON") == 0);
  CHECK(errorOf("{}\n").find("schema: missing") != std::string::npos);
  CHECK(errorOf(R"({"schema":"moec.profile","schema_version":1})").find("expected \"moec.decision-trace\"") !=
        std::string::npos);
  CHECK(errorOf(R"({"schema":"moec.decision-trace","schema_version":99})").find("version 99 is not supported") !=
        std::string::npos);
  std::string header = recordedTrace().substr(0, recordedTrace().find('\n'));
  size_t at = header.find("\"hidden\":2048");
  REQUIRE(at != std::string::npos);
  CHECK(errorOf(header.substr(0, at) + "\"hidden\":-1" + header.substr(at + 13)).find("layers[0].shape.hidden") !=
        std::string::npos);
}

TEST_CASE("garbage lines are named and skipped, and replay says why it cannot go on", "[recompile][trace]") {
  std::string text = recordedTrace();
  size_t second = text.find('\n', text.find('\n') + 1);
  size_t third = text.find('\n', second + 1);
  Result<TraceFile> trace = parseTrace({{"t", text.substr(0, second + 1) + "%%%" + text.substr(third)}});
  REQUIRE(trace);
  REQUIRE(trace->problems.size() == 1);
  CHECK(trace->problems[0].find("t:3: event: not valid JSON") == 0);
  Result<ReplayReport> report = replayTrace(*trace);
  REQUIRE_FALSE(report);
  CHECK(report.status().message().find("lines were lost") != std::string::npos);
}

TEST_CASE("replay names the first line that a changed trace decides differently", "[recompile][trace]") {
  std::string text = recordedTrace();
  // A policy with a smaller margin would have decided otherwise.
  size_t at = text.find("\"min_gain\":0.03");
  REQUIRE(at != std::string::npos);
  text.replace(at, 15, "\"min_gain\":0.90");
  Result<TraceFile> trace = parseTrace({{"t", text}});
  REQUIRE(trace);
  Result<ReplayReport> report = replayTrace(*trace);
  REQUIRE(report);
  CHECK_FALSE(report->matches);
  CHECK(report->where.find("t:") == 0);
  CHECK_FALSE(report->recorded.empty());
  CHECK(report->recorded != report->replayed);
}

TEST_CASE("a rotated trace is read from its first segment on and replays", "[recompile][trace]") {
  Folder folder;
  std::string path = (folder.path / "loop.jsonl").string();
  Simulation simulation;
  simulation.run(600, domain(32));
  Result<std::unique_ptr<LineWriter>> writer =
      openDecisionTrace({.path = path, .maxBytes = 30'000, .keep = 50, .header = {}}, {"test", 9, 0}, simulation.setup);
  REQUIRE(writer);
  for (const std::string &line : simulation.sink.lines)
    (*writer)->write(line);
  writer->reset();
  REQUIRE(std::filesystem::exists(path + ".1"));
  CHECK(std::filesystem::file_size(path + ".1") <= 30'000);

  Result<TraceFile> trace = readTrace(path);
  REQUIRE(trace);
  CHECK(trace->lines.size() == simulation.sink.lines.size());
  Result<ReplayReport> report = replayTrace(*trace);
  REQUIRE(report);
  CHECK(report->matches);

  // Without its oldest segment it can be read, but not replayed.
  uint32_t oldest = 1;
  while (std::filesystem::exists(path + "." + std::to_string(oldest + 1)))
    ++oldest;
  std::filesystem::remove(path + "." + std::to_string(oldest));
  trace = readTrace(path);
  REQUIRE(trace);
  CHECK_FALSE(replayTrace(*trace));
}

TEST_CASE("the writer drops and counts what its queue cannot hold, and never waits", "[recompile][trace]") {
  Folder folder;
  std::string path = (folder.path / "t.jsonl").string();
  Result<std::unique_ptr<LineWriter>> writer =
      LineWriter::open({.path = path, .queueBytes = 1000, .header = [](uint32_t) { return std::string("head"); }});
  REQUIRE(writer);
  CHECK_FALSE((*writer)->write(std::string(2000, 'x')));
  CHECK((*writer)->dropped() == 1);
  CHECK((*writer)->write("fits"));
  (*writer)->flush();
  CHECK(slurp(path) == "head\nfits\n");
}

TEST_CASE("lines of several threads are written whole", "[recompile][trace][threads]") {
  Folder folder;
  std::string path = (folder.path / "t.jsonl").string();
  std::atomic<uint32_t> accepted{0};
  {
    Result<std::unique_ptr<LineWriter>> writer =
        LineWriter::open({.path = path, .maxBytes = 20'000, .keep = 100, .header = {}});
    REQUIRE(writer);
    std::vector<std::thread> threads;
    for (char name : {'a', 'b', 'c', 'd'})
      threads.emplace_back([&, name] {
        for (int i = 0; i < 500; ++i)
          accepted += (*writer)->write(std::string(99, name));
      });
    for (std::thread &thread : threads)
      thread.join();
  }
  CHECK(accepted == 2000);
  size_t lines = 0;
  for (const auto &entry : std::filesystem::directory_iterator(folder.path)) {
    std::istringstream text(slurp(entry.path()));
    for (std::string line; std::getline(text, line); ++lines)
      CHECK((line.size() == 99 && line.find_first_not_of(line[0]) == std::string::npos));
  }
  CHECK(lines == 2000);
}

TEST_CASE("a trace is not written through a link", "[recompile][trace]") {
  Folder folder;
  std::filesystem::create_symlink(folder.path / "elsewhere", folder.path / "t.jsonl");
  Result<std::unique_ptr<LineWriter>> writer =
      LineWriter::open({.path = (folder.path / "t.jsonl").string(), .header = {}});
  REQUIRE_FALSE(writer);
  CHECK(writer.status().message().find("cannot write the trace") == 0);
  CHECK_FALSE(std::filesystem::exists(folder.path / "elsewhere"));
}

TEST_CASE("the routing trace holds each step's counts", "[recompile][trace]") {
  MemorySink sink;
  RoutingTrace trace(&sink);
  const uint32_t pairs[] = {3, 0, 5};
  trace.write({.layer = 2, .tokens = 4, .pairs = pairs, .layerNs = 99, .generation = 1});
  REQUIRE(sink.lines.size() == 1);
  CHECK(sink.lines[0] == R"({"n":1,"event":"step","layer":2,"tokens":4,"layer_ns":99,"spilled_pairs":0,)"
                         R"("generation":1,"pairs":[3,0,5]})");
}
