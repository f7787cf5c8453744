#include "runtime/CompilerSetup.h"
#include "runtime/Version.h"
#include "runtime/c/Boundary.h"
#include "runtime/c/Handles.h"

#include <unistd.h>

using namespace moec;

namespace {

thread_local std::string lastError;

#define MOEC_SAME(c, cpp) static_assert(static_cast<int>(c) == static_cast<int>(cpp))
MOEC_SAME(MOEC_OK, Code::Ok);
MOEC_SAME(MOEC_FAILURE, Code::Failure);
MOEC_SAME(MOEC_INVALID_ARGUMENT, Code::InvalidArgument);
MOEC_SAME(MOEC_INVALID_MODEL, Code::InvalidModel);
MOEC_SAME(MOEC_COMPILE_FAILED, Code::CompileFailed);
MOEC_SAME(MOEC_DEVICE_MISSING, Code::DeviceMissing);
MOEC_SAME(MOEC_CACHE_CORRUPT, Code::CacheCorrupt);
MOEC_SAME(MOEC_VERIFICATION_MISMATCH, Code::VerificationMismatch);
MOEC_SAME(MOEC_PEER_FAILED, Code::PeerFailed);
MOEC_SAME(MOEC_COMPILE_FORBIDDEN, Code::CompileForbidden);
MOEC_SAME(MOEC_RESOURCE_EXHAUSTED, Code::ResourceExhausted);
MOEC_SAME(MOEC_NOT_FOUND, Code::NotFound);
MOEC_SAME(MOEC_CANCELLED, Code::Cancelled);
MOEC_SAME(MOEC_DEVICE_LOST, Code::DeviceLost);
MOEC_SAME(MOEC_F32, DType::F32);
MOEC_SAME(MOEC_BF16, DType::BF16);
MOEC_SAME(MOEC_F16, DType::F16);

/// What the caller gave, over what the environment says if he asks for that.
Result<std::shared_ptr<Compiler>> compilerFor(const MoecModelOptions &options) {
  Environment environment = options.environment ? Environment::read(environ) : Environment();
  if (options.compilerLibrary)
    environment.compilerLibrary = options.compilerLibrary;
  const std::string folder = options.cacheFolder ? options.cacheFolder : environment.cacheDir;
  Result<std::shared_ptr<Compiler>> compiler = openCompiler(environment, folder, {});
  return compiler ? compiler : compiler.status().withContext("the cache");
}

Status loadModel(const char *path, const MoecModelOptions *given, MoecModel **model) {
  Result<MoecModelOptions> options = c::readOptions(given, "MoecModelOptions");
  if (!options)
    return options.status();
  Result<std::shared_ptr<Compiler>> compiler = compilerFor(*options);
  if (!compiler)
    return compiler.status();
  Model::Options load;
  load.compiler = *compiler;
  load.layers = options->layers;
  load.policy = options->cacheOnly ? CompilePolicy::CacheOnly : CompilePolicy::Allowed;
  load.plainWeights = options->plainWeights != 0;
  Result<std::shared_ptr<const Model>> loaded = Model::load(path, load);
  if (!loaded)
    return loaded.status();
  *model = new MoecModel{*loaded, options->cacheOnly != 0};
  return {};
}

} // namespace

MoecCode moec::c::report(const Status &status) {
  if (!status.ok())
    lastError = status.message();
  return static_cast<MoecCode>(status.code());
}

uint32_t moec_api_version(void) { return MOEC_API_VERSION; }
const char *moec_version(void) { return versionText(); }
const char *moec_last_error(void) { return lastError.c_str(); }
const char *moec_code_name(MoecCode code) {
  return code >= MOEC_OK && code <= MOEC_DEVICE_LOST ? codeName(static_cast<Code>(code)) : "unknown";
}

MoecCode moec_model_load(const char *path, const MoecModelOptions *options, MoecModel **model) {
  return c::guarded([&] { return loadModel(path, options, model); });
}
void moec_model_release(MoecModel *model) { delete model; }
