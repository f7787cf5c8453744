// A session in a process of its own, for warm_cache.py: opens a layer, changes its tile heights, and says what it took.
//
//   warm-cache MODEL CACHE_FOLDER COMPILER_LIBRARY auto|strict
#include "runtime/Session.h"
#include "tests/e2e/Process.h"

#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char **argv) {
  if (argc != 5)
    return 2;
  moec::Compiler::Options options;
  options.library = argv[3];
  auto cache = moec::CacheStore::open(argv[2]);
  if (!cache)
    return fail(cache.status());
  options.cache = std::make_shared<moec::CacheStore>(std::move(*cache));
  const bool strict = std::string(argv[4]) == "strict";
  auto model =
      moec::Model::load(argv[1], {.compiler = std::make_shared<moec::Compiler>(options),
                                  .layers = 1,
                                  .policy = strict ? moec::CompilePolicy::CacheOnly : moec::CompilePolicy::Allowed});
  if (!model)
    return fail(model.status());
  moec::SessionOptions opened;
  opened.maxTokens = opened.plannedTokens = 16;
  opened.mode = strict ? moec::Mode::Strict : moec::Mode::Auto;
  opened.calibrationSource = moec::CalibrationSource::Assumed; // equal plans in both processes
  auto session = moec::Session::open(*model, opened);
  if (!session)
    return fail(session.status());
  const uint32_t layer = session->layers().front();
  moec::LayerPlan plan = session->host().livePlan(layer);
  const uint16_t tallest = plan.config.cpu.tileRows.front();
  plan.config.cpu.tileRows = {tallest, static_cast<uint16_t>(tallest - 1), 1};
  auto built = session->host().build({{layer, plan}}, {}, {});
  if (!built)
    return fail(built.status());
  if (moec::Status status = session->host().publish(built->generation); !status.ok())
    return fail(status);

  const moec::LayerShape shape = session->host().layerShape(layer);
  std::vector<float> hidden(16 * shape.hidden, 0.5f), output(hidden.size());
  auto step = session->begin({.tokens = 16});
  if (!step)
    return fail(step.status());
  moec::Status status = step->layer(layer).forward({hidden.data(), shape.dtype, 16, shape.hidden},
                                                   {output.data(), shape.dtype, 16, shape.hidden});
  if (!status.ok())
    return fail(status);
  std::printf("{\"generation\": %llu, \"kernels_built\": %u, \"cache_hit\": %s, \"compiler_mapped\": %s}\n",
              static_cast<unsigned long long>(step->generation()), built->kernelsBuilt,
              built->cacheHit ? "true" : "false", isMapped("libmoec-compiler") ? "true" : "false");
  return 0;
}
