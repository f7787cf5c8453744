// What both benches need: an open session, hidden states, and timed steps on given routing.
#pragma once

#include "compiler/core/Median.h"
#include "runtime/HostRunner.h"
#include "tools/moec/Bench.h"

#include <memory>
#include <vector>

namespace moec::tool {

struct BenchSession {
  std::shared_ptr<const Model> model;
  std::unique_ptr<Session> session;
  TargetFacts facts;
  uint32_t maxTokens = 0;
  std::vector<uint8_t> hidden, output; // [maxTokens, H] in the layers' dtype
  std::unique_ptr<HostBridge> bridge;  // to where they lie on the device
  void *hiddenOnDevice = nullptr, *outputOnDevice = nullptr;
  std::vector<int32_t> ids; // [maxTokens, K], of `route`
  std::vector<float> weights;
  LayerShape shape; // of the first layer; the bench opens layers of one shape

  /// Errors: as Model::load and Session::open.
  static Result<BenchSession> open(const BenchOptions &options, uint32_t maxTokens, uint32_t plannedTokens);

  /// The model and its first layer's shape only; no session.
  static Result<BenchSession> describe(const BenchOptions &options);

  /// Runs every open layer once with this routing; nanoseconds of the step.
  Result<uint64_t> run(const RoutedStep &routed);
  /// Runs every open layer once with the model's own router.
  Result<uint64_t> runRouted(uint32_t tokens);
  /// Runs the router and the choice of experts of every open layer once, and nothing else; nanoseconds. On a CPU alone.
  Result<uint64_t> route(uint32_t tokens);

private:
  Result<uint64_t> runStep(uint32_t tokens, const RoutingView *routing);
};

using moec::median;

/// The ends of the median's 95 % interval, by order statistics; a little less than that below 6 values.
std::pair<double, double> medianInterval(std::vector<double> values);

} // namespace moec::tool
