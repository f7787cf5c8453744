// A compile for a GPU in a process of its own, for warm_cache.py: what it built, what it took, which libraries it
// opened.
//
//   warm-compile MODEL CACHE_FOLDER COMPILER_LIBRARY TARGET TOKENS
//
// The kernels are the same for all TOKENS, the package is not.
#include "compiler/core/CudaTiles.h"
#include "compiler/core/Plan.h"
#include "runtime/Environment.h"
#include "runtime/Model.h"
#include "tests/e2e/Process.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

int main(int argc, char **argv) {
  if (argc != 6)
    return 2;
  const moec::Environment environment = moec::Environment::read(environ);
  moec::Compiler::Options options;
  options.library = argv[3];
  options.jit.nvrtcOnly = environment.nvrtcOnly;
  options.jit.nvrtcAlso = environment.nvrtcAlso;
  auto cache = moec::CacheStore::open(argv[2]);
  if (!cache)
    return fail(cache.status());
  options.cache = std::make_shared<moec::CacheStore>(std::move(*cache));
  auto compiler = std::make_shared<moec::Compiler>(options);
  auto model = moec::Model::load(argv[1], {.compiler = compiler, .layers = 1});
  if (!model)
    return fail(model.status());
  auto target = moec::targetByName(argv[4], {});
  if (!target)
    return fail(target.status());
  const moec::LayerDescription &layer = (*model)->layers().front();
  moec::CompileRequest request;
  request.model = (*model)->text();
  request.target = *target;
  request.calibration = moec::Calibration::assumed(*target, layer.shape.dtype);
  request.profile.defaultTokens = static_cast<uint32_t>(std::atoi(argv[5]));
  request.layers = {layer.layer};
  moec::CudaConfig config;
  config.element = layer.shape.dtype;
  config.gateUp = config.down = config.sharedGateUp = config.sharedDown = moec::cudaTiles(*target).front();
  request.plans[layer.layer] = moec::planTable(
      layer.shape, moec::Histogram::uniform(request.profile.defaultTokens, layer.shape.topK, layer.shape.experts),
      *target, request.calibration, {}, config);
  const auto start = std::chrono::steady_clock::now();
  auto compiled = compiler->compile(request);
  if (!compiled)
    return fail(compiled.status());
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  const auto stage = [&](const char *name) {
    const auto found = compiled->package.compileMs.find(name);
    return compiled->cacheHit || found == compiled->package.compileMs.end() ? 0.0 : found->second;
  };
  std::printf("{\"kernels_built\": %u, \"cache_hit\": %s, \"compiler_mapped\": %s, \"nvrtc_mapped\": %s, \"ms\": %.3f, "
              "\"passes_ms\": %.3f, \"images_ms\": %.3f}\n",
              compiled->cacheHit ? 0 : compiled->package.kernelsBuilt, compiled->cacheHit ? "true" : "false",
              isMapped("libmoec-compiler") ? "true" : "false", isMapped("libnvrtc") ? "true" : "false", ms,
              stage("passes"), stage("images"));
  return 0;
}
