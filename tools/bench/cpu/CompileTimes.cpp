// moec-bench-cpu compile: what it takes to get a layer's kernels, compiled cold and found in the cache.
#include "tools/bench/cpu/CpuBench.h"

#include <nlohmann/json.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace moec::bench {

namespace {

/// A folder that goes when this does.
class ScratchFolder {
public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moec-bench-XXXXXX").string();
    if (const char *made = mkdtemp(pattern.data()))
      folder = made;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (!folder.empty())
      std::filesystem::remove_all(folder, ignored);
  }
  const std::string &path() const { return folder; }

private:
  std::string folder;
};

bool compilerIsLoaded() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find("libmoec-compiler") != std::string::npos)
      return true;
  return false;
}

/// Sets of five heights, all different: what the loop would ask for, one layer at a time.
std::vector<std::vector<uint16_t>> heightSets(const TargetFacts &facts, uint32_t count) {
  std::vector<std::vector<uint16_t>> sets;
  const auto most = static_cast<uint16_t>(facts.maxTileRows());
  for (uint16_t a = 2; a < most; ++a)
    for (auto b = static_cast<uint16_t>(a + 1); b < most && sets.size() < count; ++b)
      sets.push_back({most, b, a, 1});
  return sets;
}

/// Opens a session on that cache and gets the kernels of a few sets of heights. Errors: those of sessions and builds.
Result<nlohmann::json> buildSets(const tool::BenchOptions &options) {
  Result<tool::BenchSession> bench = tool::BenchSession::open(options, 16, 16);
  if (!bench)
    return bench.status();
  GenerationHost &host = bench->session->host();
  const uint32_t layer = bench->session->layers().front();
  nlohmann::json json = {{"model", bench->model->name()}, {"open_compile_ms", bench->session->opened().compileMs}};
  std::vector<double> compile, load, validate;
  uint32_t hits = 0, kernels = 0;
  for (const std::vector<uint16_t> &heights : heightSets(bench->facts, options.repeats)) {
    LayerPlan plan = host.livePlan(layer);
    plan.config.cpu.tileRows = heights;
    Result<BuildReport> built = host.build({{layer, plan}}, {}, {});
    if (!built)
      return built.status();
    host.retire(built->generation);
    compile.push_back(built->compileMs), load.push_back(built->loadMs), validate.push_back(built->validateMs);
    hits += built->cacheHit, kernels += built->kernelsBuilt;
  }
  json["layers"] = compile.size(), json["cache_hits"] = hits, json["kernels_built"] = kernels;
  auto add = [&](const char *name, const std::vector<double> &ms) {
    const tool::Interval interval = tool::intervalOf(ms);
    json[name] = {{"median", interval.median},
                  {"low", interval.low},
                  {"high", interval.high},
                  {"most", *std::max_element(ms.begin(), ms.end())}};
  };
  add("get_ms", compile), add("load_ms", load), add("validate_ms", validate);
  json["compiler_loaded"] = compilerIsLoaded();
  return json;
}

/// `buildSets` in a process of its own, so that this one never opens the compiler.
Result<nlohmann::json> buildSetsElsewhere(const tool::BenchOptions &options) {
  int ends[2];
  if (pipe(ends) != 0)
    return makeError(Code::Failure, "cannot make a pipe");
  const pid_t child = fork();
  if (child < 0)
    return makeError(Code::Failure, "cannot start a process");
  if (child == 0) {
    Result<nlohmann::json> built = buildSets(options);
    const std::string text = built ? built->dump() : nlohmann::json{{"error", built.status().message()}}.dump();
    for (size_t done = 0; done < text.size();)
      if (ssize_t written = write(ends[1], text.data() + done, text.size() - done); written > 0)
        done += static_cast<size_t>(written);
      else
        break;
    _exit(built ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int state = 0;
  waitpid(child, &state, 0);
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded() || json.contains("error"))
    return makeError(Code::CompileFailed, "the process that compiles: {}",
                     json.is_discarded() ? std::string("died") : json["error"].get<std::string>());
  return json;
}

void printLine(const char *name, const nlohmann::json &part) {
  fmt::print("{:<10} {:>8.1f} ({:.1f} .. {:.1f}) {:>10.2f} {:>11.2f} {:>12} {:>16}\n", name,
             part["get_ms"]["median"].get<double>(), part["get_ms"]["low"].get<double>(),
             part["get_ms"]["high"].get<double>(), part["load_ms"]["median"].get<double>(),
             part["validate_ms"]["median"].get<double>(),
             fmt::format("{}/{}", part["cache_hits"].get<int>(), part["layers"].get<int>()),
             part["compiler_loaded"].get<bool>() ? "yes" : "no");
}

} // namespace

Status runCompileTimes(const CpuBenchOptions &given) {
  ScratchFolder folder;
  if (folder.path().empty())
    return makeError(Code::Failure, "cannot make a scratch folder");
  tool::BenchOptions options = given;
  options.cacheDir = folder.path(); // an empty cache of its own
  Result<nlohmann::json> cold = buildSetsElsewhere(options);
  if (!cold)
    return cold.status();
  Result<nlohmann::json> warm = buildSets(options);
  if (!warm)
    return warm.status();
  if ((*warm)["compiler_loaded"].get<bool>())
    return makeError(Code::VerificationMismatch, "everything was in the cache, and yet the compiler was loaded");
  if (options.format != "text") {
    fmt::print("{}\n", nlohmann::json{{"schema", "moec.bench-cpu-compile"},
                                      {"schema_version", 1},
                                      {"model", (*cold)["model"]},
                                      {"cold", *cold},
                                      {"cached", *warm}}
                           .dump());
    return {};
  }
  fmt::print("{}: kernels of one layer, {} sets of tile heights, medians with 95 % intervals\n\n",
             (*cold)["model"].get<std::string>(), (*cold)["layers"].get<int>());
  fmt::print("{:<10} {:>24} {:>10} {:>11} {:>12} {:>16}\n", "", "get ms", "load ms", "validate ms", "cache hits",
             "compiler loaded");
  printLine("cold", *cold);
  printLine("cached", *warm);
  return {};
}

} // namespace moec::bench
