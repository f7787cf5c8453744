// What verbs open before they start: the cache, the compiler, a calibration.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Profile.h"
#include "runtime/CompilerSetup.h"
#include "runtime/Model.h"
#include "tools/moec/Verbs.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>

namespace moec::tool {

struct CacheOptions {
  std::string folder; // empty: as the environment says
  bool off = false;
};

/// Adds --cache-dir and, where a verb can do without a cache, --no-cache.
void addCacheOptions(CLI::App *verb, CacheOptions &options, bool canBeOff = true);

/// Adds --plain-weights (Model::Options::plainWeights).
void addPlainWeights(CLI::App *verb, bool &plainWeights);

/// The folder that options and environment name. Error: InvalidArgument where neither does.
Result<std::string> cacheFolder(const CacheOptions &options, const Environment &environment);

/// A compiler with that cache (none with --no-cache, or where no folder is named), logging to stderr from MOEC_LOG up.
/// Errors: those of CacheStore::open.
Result<std::shared_ptr<Compiler>> makeCompiler(const CacheOptions &options, const Environment &environment);

/// What a session measured for a target on this machine, if the cache has it.
std::optional<Calibration> cachedCalibration(CacheStore &cache, const TargetFacts &facts, DType compute,
                                             const std::string &buildId);

struct UsedCalibration {
  Calibration figures;
  std::string source; // as --explain shows it
};

/// What a session on this machine would plan with: what is in the cache, else assumed figures. From `file` if that is
/// not empty. Errors: those of reading the file, InvalidArgument (it is of the other kind of device).
Result<UsedCalibration> findCalibration(const std::string &file, const TargetFacts &facts, const LayerShape &shape,
                                        const Compiler &compiler);

/// Errors: those of reading the file and of Profile::fromJson, naming it.
Result<Profile> readProfile(const std::string &path);

/// The layer that `profile`, read from `path`, has numbers of. Error: InvalidArgument, the model has none, or one with
/// other experts.
Result<const LayerDescription *> profiledLayer(const Model &model, const Profile &profile, uint32_t number,
                                               const std::string &path);

/// What --target takes, for helps: "cpu, cpu-avx2, ...".
extern const char *const targetNames;

/// The facts behind --target, to compile for: the machine need not be able to run it. Errors: InvalidArgument (unknown
/// name).
Result<TargetFacts> compileTarget(const std::string &name, uint32_t threads, const Environment &environment);

/// Indented JSON and a line feed; bytes that are not UTF-8 become U+FFFD.
std::string jsonText(const nlohmann::json &json);

/// "870 bytes", "1.2 MiB".
std::string bytesText(uint64_t bytes);

/// "1 layer", "2 layers".
std::string counted(uint64_t number, const char *noun);

} // namespace moec::tool
