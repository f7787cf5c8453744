#include "tools/moec/Setup.h"

#include "compiler/core/Plan.h"
#include "runtime/device/cpu/Calibrate.h"
#include "runtime/device/cpu/MachineFacts.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <iterator>

namespace moec::tool {
const char *const targetNames = "cpu, cpu-avx2, cpu-avx512, cpu-avx512bf16, a GPU's architecture (sm_80, sm_89, sm_90, "
                                "sm_90a, sm_100, sm_120) or a card (a100, l40s, rtx4090, rtx5090, h100, h200, b200)";

void addCacheOptions(CLI::App *verb, CacheOptions &options, bool canBeOff) {
  CLI::Option *folder =
      verb->add_option("--cache-dir", options.folder, "the cache's folder; default MOEC_CACHE_DIR, else ~/.cache/moec");
  if (canBeOff)
    verb->add_flag("--no-cache", options.off, "look nothing up, keep nothing")->excludes(folder);
}

void addPlainWeights(CLI::App *verb, bool &plainWeights) {
  verb->add_flag(
      "--plain-weights", plainWeights,
      "of a config.json: experts whose checkpoint is e4m3 are computed in the model's dtype, so that results "
      "are the same on all targets");
}

Result<std::string> cacheFolder(const CacheOptions &options, const Environment &environment) {
  const std::string &folder = options.folder.empty() ? environment.cacheDir : options.folder;
  if (folder.empty())
    return makeError(Code::InvalidArgument,
                     "there is no cache folder: give --cache-dir, or set MOEC_CACHE_DIR or HOME");
  return folder;
}

Result<std::shared_ptr<Compiler>> makeCompiler(const CacheOptions &options, const Environment &environment) {
  const Result<std::string> folder = cacheFolder(options, environment); // no folder, no cache
  Result<std::shared_ptr<Compiler>> compiler =
      openCompiler(environment, folder && !options.off ? *folder : std::string(),
                   [](std::string_view line) { note(std::string(line)); });
  return compiler ? compiler : compiler.status().withContext("the cache (--no-cache does without)");
}

std::optional<Calibration> cachedCalibration(CacheStore &cache, const TargetFacts &facts, DType compute,
                                             const std::string &buildId) {
  const std::string key = facts.device == DeviceKind::Cuda ? gpuCalibrationKey(facts, compute, buildId)
                                                           : calibrationKey(facts, compute, buildId);
  const auto bytes = cache.find("calibration", key);
  if (!bytes)
    return std::nullopt;
  Result<Calibration> read = Calibration::fromJson(std::string(bytes->begin(), bytes->end()));
  return read ? std::optional(*read) : std::nullopt;
}

Result<UsedCalibration> findCalibration(const std::string &file, const TargetFacts &facts, const LayerShape &shape,
                                        const Compiler &compiler) {
  const DType compute = facts.device == DeviceKind::Cuda ? shape.dtype : computeDType(shape);
  if (!file.empty()) {
    Result<std::string> text = readWholeFile(file);
    if (!text)
      return text.status();
    Result<Calibration> read = Calibration::fromJson(*text);
    const Status status = read ? read->checkFor(facts) : read.status();
    if (!status.ok())
      return status.withContext("{}", file);
    return UsedCalibration{*read, file};
  }
  if (CacheStore *cache = compiler.cache())
    if (std::optional<Calibration> found = cachedCalibration(*cache, facts, compute, compiler.buildId()))
      return UsedCalibration{*found, "measured on this machine"};
  return UsedCalibration{Calibration::assumed(facts, compute), "assumed figures, not measured"};
}

Result<Profile> readProfile(const std::string &path) {
  Result<std::string> text = readWholeFile(path);
  if (!text)
    return text.status();
  Result<Profile> profile = Profile::fromJson(*text);
  return profile ? std::move(profile) : profile.status().withContext("{}", path);
}

Result<const LayerDescription *> profiledLayer(const Model &model, const Profile &profile, uint32_t number,
                                               const std::string &path) {
  const LayerDescription *layer = model.find(number);
  if (!layer)
    return makeError(Code::InvalidArgument, "{}: the model has no MoE layer {}", path, number);
  if (Status status = profile.matches(number, layer->shape.experts); !status.ok())
    return status.withContext("{}", path);
  return layer;
}

Result<TargetFacts> compileTarget(const std::string &name, uint32_t threads, const Environment &environment) {
  Result<TargetFacts> facts = targetByName(name, thisMachine());
  if (!facts)
    return facts;
  if (threads || environment.threads)
    facts->threads = threads ? threads : environment.threads;
  return facts;
}

std::string jsonText(const nlohmann::json &json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string bytesText(uint64_t bytes) {
  constexpr const char *units[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024)
    return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(units); ++unit)
    value /= 1024;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string counted(uint64_t number, const char *noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

} // namespace moec::tool
