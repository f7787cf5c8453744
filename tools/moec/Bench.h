// `moec bench`: times a model's layers, and plays drift scenarios through the whole loop.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Plan.h"
#include "compiler/core/Status.h"
#include "runtime/device/cuda/LaunchWatch.h"
#include "tools/moec/Traffic.h"
#include "tools/moec/Verbs.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace moec::tool {

struct BenchOptions {
  Environment environment; // as main has read it
  std::string model;
  std::string weights = "random:seed=1";
  std::string target = "cpu";
  uint32_t threads = 0;
  uint32_t numLayers = 1;
  bool plainWeights = false;
  std::vector<uint32_t> tokens;
  std::string routing = "uniform";
  std::string packBudget = "100%";
  uint32_t maxTileHeights = PlanLimits().maxTileHeights;
  std::string format = "text";
  std::string cacheDir;
  bool noCache = false;
  bool calibrate = false;
  std::string calibrationFile;            // or "assumed"; empty: as sessions do
  std::optional<Calibration> calibration; // of the sessions after the first, so that all rows are planned with the same
  std::shared_ptr<LaunchWatch> launchWatch; // of the sessions, on a GPU
  uint32_t repeats = 5;

  std::string drift; // empty: no scenario, a table of times
  std::string trace;
  double seconds = 12; // of the scenario's drifted part, at most
  bool exhaustive = false;
  bool live = false;
};

/// Adds the verb; its callback sets the tool's exit code.
void addBench(CLI::App &app, Tool &tool);

/// The table of times per token count.
Status runBenchTable(const BenchOptions &options);
/// The same on a GPU, by events.
Status runBenchCuda(const BenchOptions &options);
/// A drift scenario through session and loop.
Status runBenchDrift(const BenchOptions &options);

} // namespace moec::tool
