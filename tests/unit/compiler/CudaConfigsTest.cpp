// Everything that the planner may choose for the models that we know, built: no kernel spills or takes longer than
// docs/architecture.md section 5 allows, on the oldest GPU that we serve and on Hopper. Kernels are shared among models
// by their source, so that each is built once.
#include "compiler/Compile.h"
#include "compiler/core/PlanCuda.h"
#include "compiler/import/ImportConfig.h"
#include "tests/unit/Catch.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include <time.h>

using namespace moec;
namespace fs = std::filesystem;

namespace {

std::string readFile(const fs::path &path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Processor time that the calling thread has taken since it last asked, or since it began.
double secondsTaken() {
  thread_local double before = 0;
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  const double now = static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  return now - std::exchange(before, now);
}

/// Each model's first MoE layer; its others differ in nothing that a kernel depends on.
std::map<std::string, std::string> models() {
  std::map<std::string, std::string> texts;
  for (const auto &entry : fs::directory_iterator(fs::path(__FILE__).parent_path() / "../../golden/configs")) {
    const std::string config = readFile(entry.path() / "config.json");
    ImportOptions options;
    options.name = entry.path().filename().string();
    Result<std::string> whole = importConfig(config, options);
    INFO(options.name << ": " << whole.status().message());
    REQUIRE(whole.ok());
    Result<ModelDescription> described = describe(*whole);
    REQUIRE(described.ok());
    options.layers = {described->layers.front().layer};
    texts[options.name] = *importConfig(config, options);
  }
  return texts;
}

/// The model with each tile in all places that it has a form for.
void buildAll(const std::string &model, CompileRequest request, const CompileHooks &hooks) {
  Result<ModelDescription> described = describe(model);
  REQUIRE(described.ok());
  const LayerDescription &layer = described->layers.at(0);
  request.model = model;
  for (const CudaTile &tile : expertTiles(layer.shape, request.target)) {
    CAPTURE(tile.text());
    LayerPlan plan = planLayer(layer.shape, Histogram::uniform(64, layer.shape.topK, layer.shape.experts),
                               request.target, request.calibration, {});
    CudaConfig &config = plan.config.cuda;
    config.gateUp = config.down = tile;
    if (hasDenseForm(tile))
      config.sharedGateUp = config.sharedDown = tile;
    request.plans = {{layer.layer, plan}};
    const Status status = compile(request, hooks).status(); // a spill is an error
    CHECK(status.message() == "");
  }
}

void buildAllModels(const std::string &target) {
  std::map<std::string, std::vector<uint8_t>> cache;
  double longest = 0; // of a kernel, seconds of one core: a thread hands in each that it built
  CompileHooks hooks;
  hooks.findImage = [&](const std::string &key) -> std::optional<std::vector<uint8_t>> {
    auto found = cache.find(key);
    return found == cache.end() ? std::nullopt : std::optional(found->second);
  };
  hooks.putImage = [&](const std::string &key, const std::vector<uint8_t> &bytes) {
    cache[key] = bytes;
    longest = std::max(longest, secondsTaken());
  };
  CompileRequest request;
  Result<TargetFacts> facts = targetByName(target, {});
  REQUIRE(facts.ok());
  request.target = *facts;
  request.calibration = Calibration::assumed(*facts, DType::BF16);
  request.jit.threads = std::max(1u, std::thread::hardware_concurrency());
  const auto all = models();
  CHECK(all.size() == 15); // a config that is skipped would pass unseen
  for (const auto &[name, model] : all) {
    CAPTURE(name);
    (void)secondsTaken(); // this thread builds too; what it did before is no kernel's
    buildAll(model, request, hooks);
  }
  CAPTURE(longest);
  CHECK(longest > 0.1);
  CHECK(longest <= 10);
}

} // namespace

TEST_CASE("every config that the planner can choose for a known model builds without spills for sm_90a",
          "[compiler][cuda][configs]") {
  buildAllModels("sm_90a");
}

TEST_CASE("every config that the planner can choose for a known model builds without spills for sm_80",
          "[compiler][cuda][configs]") {
  buildAllModels("sm_80");
}
