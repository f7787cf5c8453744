// A session on GPU 0 with made-up weights, and plans for every tile class that it can run.
#pragma once

#include "compiler/core/PlanCuda.h"
#include "compiler/import/ModelText.h"
#include "runtime/HostRunner.h"
#include "runtime/device/cuda/Driver.h"
#include "runtime/weights/Convert.h"
#include "tests/conformance/TestCompiler.h"
#include "tests/unit/Catch.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include <unistd.h>

namespace moec::gpu {

inline Status modelFile(const importer::ModelSpec &spec, std::string &path) {
  path = (std::filesystem::temp_directory_path() / fmt::format("moec-gpu-{}.mlir", getpid())).string();
  std::ofstream(path) << importer::modelText(spec, "gpu-check");
  return {};
}

/// A layer whose sums and columns are no multiples of a tile.
inline importer::ModelSpec smallSpec() {
  importer::ModelSpec spec;
  spec.family = "check";
  spec.shape = {.hidden = 520,
                .intermediate = 264,
                .experts = 16,
                .topK = 4,
                .dtype = DType::BF16,
                .sharedIntermediate = 136,
                .sharedGate = true};
  spec.router.renormalise = true;
  spec.layers = {0};
  return spec;
}

/// The same with a shared expert that joins the routed ones.
inline importer::ModelSpec joinedSpec() {
  importer::ModelSpec spec = smallSpec();
  spec.shape.sharedIntermediate = spec.shape.intermediate;
  return spec;
}

/// That of an e4m3 checkpoint: sums and columns end amid a block of scales.
inline importer::ModelSpec e4m3Spec() {
  importer::ModelSpec spec = smallSpec();
  spec.shape.hidden = 528;
  spec.shape.intermediate = spec.shape.sharedIntermediate = 272;
  spec.e4m3Experts = spec.e4m3Shared = {0};
  return spec;
}

/// Layers whose steps of few tokens have a down of their own (hasDownFew), of e4m3 a gate-up, too (hasGateUpFew).
inline importer::ModelSpec fewSpec() {
  importer::ModelSpec spec = smallSpec();
  spec.shape.sharedIntermediate = 0;
  spec.shape.sharedGate = false;
  spec.shape.hidden = 528;
  spec.shape.intermediate = 320;
  return spec;
}
inline importer::ModelSpec e4m3FewSpec() {
  importer::ModelSpec spec = fewSpec();
  spec.shape.hidden = 640;
  spec.shape.intermediate = 384;
  spec.e4m3Experts = {0};
  return spec;
}
/// With one expert a token, of which a block of down has four groups of columns (downFewFp8Groups()).
inline importer::ModelSpec e4m3FewOneSpec() {
  importer::ModelSpec spec = e4m3FewSpec();
  spec.shape.hidden = kDownFewFp8LeastBlocks * 4 * kDownFewColumns;
  spec.shape.topK = 1;
  return spec;
}
/// With a shared expert that joins the routed ones: a gate-up of their own alone.
inline importer::ModelSpec e4m3FewJoinedSpec() {
  importer::ModelSpec spec = e4m3FewSpec();
  spec.shape.sharedIntermediate = spec.shape.intermediate;
  spec.e4m3Shared = {0};
  return spec;
}

struct Bench {
  explicit Bench(const importer::ModelSpec &given, std::function<void(SessionOptions &)> change = {}) : spec(given) {
    std::string path;
    REQUIRE(modelFile(spec, path).ok());
    auto loaded = Model::load(path, {.compiler = conformance::testCompiler()});
    std::filesystem::remove(path);
    INFO(loaded.status().message());
    REQUIRE(loaded.ok());
    model = *loaded;
    SessionOptions options;
    options.device = "cuda:0";
    options.maxTokens = 256;
    options.weights = "random:seed=7,std=0.1";
    options.plannedTokens = 16;
    if (change)
      change(options);
    auto opened = Session::open(model, options);
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    session.emplace(std::move(*opened));
    layer = session->layers().front();
  }

  /// The live plan with every tile for both products, and with every pair of families that can share a table of tiles.
  /// MOEC_TEST_TILES=PART: those alone that have a tile with PART in its name.
  std::vector<LayerPlan> plans() {
    std::vector<LayerPlan> all;
    LayerPlan plan = session->host().livePlan(layer);
    const char *wanted = std::getenv("MOEC_TEST_TILES");
    const auto isWanted = [&](const CudaTile &tile) {
      return !wanted || tile.text().find(wanted) != std::string::npos;
    };
    const std::vector<CudaTile> tiles = expertTiles(model->find(layer)->shape, session->host().facts());
    for (const CudaTile &gateUp : tiles)
      for (const CudaTile &down : tiles)
        if (gateUp.tokens == down.tokens && (gateUp == down || gateUp.family != down.family) &&
            (isWanted(gateUp) || isWanted(down))) {
          plan.config.cuda.gateUp = gateUp;
          plan.config.cuda.down = down;
          std::rotate(plan.table.order.begin(), plan.table.order.begin() + 1, plan.table.order.end());
          all.push_back(plan);
        }
    return all;
  }

  uint64_t build(const LayerPlan &plan) {
    auto report = session->host().build({{layer, plan}}, {}, {});
    INFO(plan.config.text() << ": " << report.status().message());
    REQUIRE(report.ok());
    CHECK(report->validateError == 0);
    return report->generation;
  }

  importer::ModelSpec spec;
  std::shared_ptr<const Model> model;
  std::optional<Session> session;
  uint32_t layer = 0;
};

/// Normal hidden states [tokens, H] in the layer's dtype.
inline std::vector<std::byte> randomHidden(const LayerShape &shape, uint32_t tokens, uint32_t seed) {
  std::vector<float> values(uint64_t{tokens} * shape.hidden);
  uint64_t state = seed;
  for (float &value : values) { // twelve uniform numbers make a normal one near enough
    float sum = -6;
    for (int i = 0; i < 12; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<float>(state >> 40) * 0x1p-24f;
    }
    value = sum;
  }
  std::vector<std::byte> bytes(values.size() * byteSize(shape.dtype));
  convert(values.data(), DType::F32, bytes.data(), shape.dtype, values.size());
  return bytes;
}

/// A driver of the test's own on the same device.
inline std::shared_ptr<CudaDriver> driverOf() {
  auto api = CudaApi::load();
  REQUIRE(api.ok());
  auto driver = CudaDriver::open("cuda:0", *api);
  REQUIRE(driver.ok());
  return *driver;
}

inline uint64_t freeBytes(const CudaDriver &driver) {
  ContextScope scope(driver);
  size_t available = 0, all = 0;
  REQUIRE(driver.api().cuMemGetInfoFn(&available, &all) == CUDA_SUCCESS);
  return available;
}

/// How often a stress test swaps: so many, or what MOEC_TEST_SWAPS says (compute-sanitizer takes a few).
inline uint32_t swaps(uint32_t usual) {
  const char *wanted = std::getenv("MOEC_TEST_SWAPS");
  return wanted ? static_cast<uint32_t>(std::atoi(wanted)) : usual;
}

} // namespace moec::gpu
