// `moec doctor`: what is here, what is missing, and what it would be needed for.
#include "tools/moec/CacheUsage.h"
#include "tools/moec/Gpus.h"
#include "tools/moec/Libraries.h"
#include "tools/moec/Setup.h"
#include "tools/moec/Verbs.h"

#include "runtime/Version.h"
#include "runtime/device/cpu/MachineFacts.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>

namespace moec::tool {
namespace {

constexpr const char *footer = R"(Example:
  moec doctor --json
Ends with 0 whatever is missing.)";

struct DoctorOptions {
  std::string format = "text";
  bool json = false;
  CacheOptions cache;
};

nlohmann::json cpuReport() {
  const TargetFacts facts = thisMachine();
  return {
      {"usable", cpuHasAvx2()}, {"isa", isaName(facts.isa)}, {"threads", facts.threads}, {"l2_bytes", facts.l2Bytes}};
}

nlohmann::json libraryJson(const LibraryReport &library) {
  return {{"name", library.name},       {"found", library.found},     {"path", library.path},
          {"version", library.version}, {"problem", library.problem}, {"needed_for", library.neededFor}};
}

/// Looks, and changes nothing: neither makes the folder nor repairs its mode.
nlohmann::json cacheReport(const CacheOptions &options, const Environment &environment) {
  Result<std::string> folder = cacheFolder(options, environment);
  if (!folder)
    return {{"usable", false}, {"problem", folder.status().message()}};
  nlohmann::json json = {{"folder", *folder}, {"usable", true}, {"exists", false}, {"problem", ""}};
  auto broken = [&](const Status &status) {
    json["usable"] = false;
    json["problem"] = status.message();
    return json;
  };
  Result<CacheUsage> usage = cacheUsage(*folder);
  if (!usage)
    return broken(usage.status());
  json["exists"] = usage->exists;
  json["entries"] = usage->total().entries;
  json["bytes"] = usage->total().bytes;
  if (!usage->exists)
    return json;
  Result<CacheStore> store = CacheStore::open(*folder);
  return store ? json : broken(store.status());
}

/// The cache to look calibrations up in; null where there is none.
std::unique_ptr<CacheStore> existingCache(const nlohmann::json &report) {
  if (!report["usable"].get<bool>() || !report["exists"].get<bool>())
    return nullptr;
  Result<CacheStore> store = CacheStore::open(report["folder"].get<std::string>());
  return store ? std::make_unique<CacheStore>(std::move(*store)) : nullptr;
}

/// What sessions measured and plan with: bytes and operations a nanosecond, by dtype.
nlohmann::json calibrationReport(CacheStore *cache, const TargetFacts &facts) {
  nlohmann::json list = nlohmann::json::array();
  const bool gpu = facts.device == DeviceKind::Cuda;
  for (DType dtype : {gpu ? DType::F16 : DType::F32, DType::BF16}) {
    const std::optional<Calibration> found =
        cache ? cachedCalibration(*cache, facts, dtype, versionText()) : std::nullopt;
    if (!found)
      continue;
    nlohmann::json json = {{"dtype", dtypeName(dtype)}};
    json["memory_gb_per_s"] = found->gpu ? found->gpu->memoryBytesPerNs : 1 / found->streamNsPerByte;
    if (found->gpu)
      json["matrix_tflops"] = found->gpu->matrixFlopsPerNs(facts) / 1e3;
    list.push_back(std::move(json));
  }
  return list;
}

nlohmann::json gpuReports(CacheStore *cache) {
  nlohmann::json list = nlohmann::json::array();
  for (const GpuReport &gpu : examineGpus()) {
    nlohmann::json json = {
        {"device", gpu.device}, {"model", gpu.model}, {"usable", gpu.problem.empty()}, {"problem", gpu.problem}};
    json["target"] = gpu.facts.name;
    json["calibrations"] = gpu.problem.empty() ? calibrationReport(cache, gpu.facts) : nlohmann::json::array();
    list.push_back(std::move(json));
  }
  return list;
}

nlohmann::json environmentReport(const Environment &environment) {
  nlohmann::json set = nlohmann::json::object();
  for (const auto &[name, value] : environment.variables)
    set[name] = value;
  return {{"set", set}, {"warnings", environment.warnings}};
}

nlohmann::json examine(const DoctorOptions &options, const Tool &tool) {
  nlohmann::json json = {{"schema", "moec.doctor"}, {"schema_version", 1}, {"version", versionText()}};
  json["cpu"] = cpuReport();
  json["libraries"] = nlohmann::json::array();
  const std::string compiler = defaultCompilerLibrary(tool.environment.compilerLibrary);
  for (const LibraryReport &library : {examineCompiler(compiler), examineDriver(),
                                       examineNvrtc(compiler, jitOptions(tool.environment)), examineNccl()})
    json["libraries"].push_back(libraryJson(library));
  json["cache"] = cacheReport(options.cache, tool.environment);
  const std::unique_ptr<CacheStore> cache = existingCache(json["cache"]);
  json["cpu"]["calibrations"] = calibrationReport(cache.get(), thisMachine());
  json["gpus"] = gpuReports(cache.get());
  json["environment"] = environmentReport(tool.environment);
  return json;
}

std::string text(const nlohmann::json &json) { return json.get<std::string>(); }

std::string libraryText(const nlohmann::json &library) {
  if (library["found"].get<bool>())
    return fmt::format("{:<16}{}, {}\n", text(library["name"]), text(library["version"]), text(library["path"]));
  return fmt::format("{:<16}missing; needed for {}\n{:<16}{}\n", text(library["name"]), text(library["needed_for"]), "",
                     text(library["problem"]));
}

std::string cacheText(const nlohmann::json &cache) {
  if (!cache["usable"].get<bool>())
    return fmt::format("{:<16}not usable: {}\n", "cache", text(cache["problem"]));
  if (!cache["exists"].get<bool>())
    return fmt::format("{:<16}{}, to be made when it is needed\n", "cache", text(cache["folder"]));
  return fmt::format("{:<16}{}, {} entries, {}\n", "cache", text(cache["folder"]), cache["entries"].get<uint64_t>(),
                     bytesText(cache["bytes"].get<uint64_t>()));
}

/// "bf16 measured at 3120 GB/s", or what happens instead.
std::string calibrationsText(const nlohmann::json &list) {
  std::string line;
  for (const nlohmann::json &calibration : list) {
    line += fmt::format("{}{} measured at {:.3g} GB/s", line.empty() ? "" : ", ", text(calibration["dtype"]),
                        calibration["memory_gb_per_s"].get<double>());
    if (calibration.contains("matrix_tflops"))
      line += fmt::format(" and {:.3g} TFLOP/s", calibration["matrix_tflops"].get<double>());
  }
  return line.empty() ? "not calibrated: the first session measures it" : line;
}

std::string gpuText(const nlohmann::json &gpu) {
  if (!gpu["usable"].get<bool>())
    return fmt::format("{:<16}not usable: {}\n", text(gpu["device"]), text(gpu["problem"]));
  return fmt::format("{:<16}{}, target {}; {}\n", text(gpu["device"]), text(gpu["model"]), text(gpu["target"]),
                     calibrationsText(gpu["calibrations"]));
}

/// The driver is here, but nothing to use it with; without a driver its own line says enough.
bool lacksGpus(const nlohmann::json &json) {
  const auto isDriver = [](const nlohmann::json &library) {
    return library["name"] == "NVIDIA driver" && library["found"];
  };
  return json["gpus"].empty() && std::any_of(json["libraries"].begin(), json["libraries"].end(), isDriver);
}

std::string reportText(const nlohmann::json &json) {
  const nlohmann::json &cpu = json["cpu"];
  std::string lines = fmt::format("{:<16}{}\n", "moec", text(json["version"]));
  lines +=
      fmt::format("{:<16}{}{}, {} threads, L2 {} per core; {}\n", "cpu", text(cpu["isa"]),
                  cpu["usable"].get<bool>() ? "" : " missing: nothing can run here", cpu["threads"].get<uint32_t>(),
                  bytesText(cpu["l2_bytes"].get<uint64_t>()), calibrationsText(cpu["calibrations"]));
  for (const nlohmann::json &gpu : json["gpus"])
    lines += gpuText(gpu);
  if (lacksGpus(json))
    lines += fmt::format("{:<16}none that this build can use\n", "GPU");
  for (const nlohmann::json &library : json["libraries"])
    lines += libraryText(library);
  lines += cacheText(json["cache"]);
  for (const auto &[name, value] : json["environment"]["set"].items())
    lines += fmt::format("{:<16}{}={}\n", "environment", name, text(value));
  for (const nlohmann::json &warning : json["environment"]["warnings"])
    lines += fmt::format("{:<16}{}\n", "warning", text(warning));
  return lines;
}

Status runDoctor(const DoctorOptions &options, const Tool &tool) {
  const nlohmann::json json = examine(options, tool);
  return printResult(options.json || options.format == "json" ? jsonText(json) : reportText(json));
}

} // namespace

void addDoctor(CLI::App &app, Tool &tool) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App *verb = addVerb(app, tool, {"doctor", "Say what is here and what is missing", footer},
                           [options, &tool] { return runDoctor(*options, tool); });
  verb->add_flag("--json", options->json, "as --format=json");
  addCacheOptions(verb, options->cache, /*canBeOff=*/false);
  addFormat(verb, options->format);
}

} // namespace moec::tool
