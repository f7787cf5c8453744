#include "tools/moec/BenchSession.h"

#include "runtime/device/cpu/MachineFacts.h"
#include "runtime/weights/Convert.h"
#include "tools/common/Files.h"
#include "tools/moec/Setup.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

namespace moec::tool {
namespace {

uint64_t nowNs() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

/// Standard normal hidden states: zeros would hide unwritten outputs, and can run faster than real data.
std::vector<uint8_t> randomStates(uint32_t tokens, uint32_t hidden, DType dtype) {
  std::vector<float> values(size_t{tokens} * hidden);
  std::mt19937 random(42);
  std::normal_distribution<float> normal;
  for (float &value : values)
    value = normal(random);
  std::vector<uint8_t> bytes(values.size() * byteSize(dtype));
  convert(values.data(), DType::F32, bytes.data(), dtype, values.size());
  return bytes;
}

/// Where the session's calibration comes from.
Status chooseCalibration(const BenchOptions &options, SessionOptions &session) {
  session.calibrationSource = options.calibrate                      ? CalibrationSource::Measure
                              : options.calibrationFile == "assumed" ? CalibrationSource::Assumed
                                                                     : CalibrationSource::Once;
  session.calibration = options.calibration;
  if (options.calibrationFile.empty() || options.calibrationFile == "assumed")
    return {};
  Result<std::string> text = readWholeFile(options.calibrationFile);
  if (!text)
    return text.status();
  Result<Calibration> read = Calibration::fromJson(*text);
  TargetFacts target;
  target.name = options.target;
  target.device = options.target.starts_with("cuda") ? DeviceKind::Cuda : DeviceKind::Cpu;
  if (Status status = read ? read->checkFor(target) : read.status(); !status.ok())
    return status.withContext("{}", options.calibrationFile);
  session.calibration = *read;
  return {};
}

} // namespace

Result<BenchSession> BenchSession::describe(const BenchOptions &options) {
  Result<std::shared_ptr<Compiler>> compiler = makeCompiler({options.cacheDir, options.noCache}, options.environment);
  if (!compiler)
    return compiler.status();
  BenchSession bench;
  Result<std::shared_ptr<const Model>> model = Model::load(
      options.model, {.compiler = *compiler, .layers = options.numLayers, .plainWeights = options.plainWeights});
  if (!model)
    return model.status();
  if ((*model)->layers().empty())
    return makeError(Code::InvalidModel, "{} has no MoE layer", options.model);
  bench.model = *model;
  bench.shape = bench.model->layers().front().shape;
  return bench;
}

Result<BenchSession> BenchSession::open(const BenchOptions &options, uint32_t maxTokens, uint32_t plannedTokens) {
  Result<BenchSession> described = describe(options);
  if (!described)
    return described.status();
  BenchSession bench = std::move(*described);
  Result<PackBudget> budget = PackBudget::parse(options.packBudget);
  if (!budget)
    return budget.status();
  SessionOptions session;
  session.device = options.target;
  session.maxTokens = maxTokens;
  session.maxSteps = 1;
  session.threads = options.threads ? options.threads : options.environment.threads;
  session.packBudget = *budget;
  session.limits.maxTileHeights = options.maxTileHeights;
  session.weights = options.weights;
  session.plannedTokens = plannedTokens;
  if (options.target.starts_with("cuda")) { // two graphs, whose forwards are timed from outside
    session.maxGraphs = 2;
    session.maxGraphTokens = maxTokens;
    session.timeGraphs = false;
  }
  if (Status status = chooseCalibration(options, session); !status.ok())
    return status;
  session.launchWatch = options.launchWatch;
  Result<Session> opened = Session::open(bench.model, session);
  if (!opened)
    return opened.status();
  bench.session = std::make_unique<Session>(std::move(*opened));
  bench.facts = bench.session->host().facts();
  bench.maxTokens = maxTokens;
  bench.hidden = randomStates(maxTokens, bench.shape.hidden, bench.shape.dtype);
  bench.output.resize(bench.hidden.size());
  Result<std::unique_ptr<HostBridge>> bridge = bench.session->bridge();
  if (!bridge)
    return bridge.status();
  bench.bridge = std::move(*bridge);
  Result<void *> in = bench.bridge->onDevice(0, bench.hidden.data(), bench.hidden.size(), true);
  Result<void *> out = bench.bridge->onDevice(1, bench.output.data(), bench.output.size(), false);
  if (!in || !out)
    return in ? out.status() : in.status();
  bench.hiddenOnDevice = *in, bench.outputOnDevice = *out;
  bench.ids.resize(size_t{maxTokens} * bench.shape.topK);
  bench.weights.resize(bench.ids.size());
  return bench;
}

Result<uint64_t> BenchSession::run(const RoutedStep &routed) {
  const uint64_t bytes = routed.ids.size() * sizeof(int32_t);
  Result<void *> ids = bridge->onDevice(2, const_cast<int32_t *>(routed.ids.data()), bytes, true);
  Result<void *> weights = bridge->onDevice(3, const_cast<float *>(routed.weights.data()), bytes, true);
  if (!ids || !weights)
    return ids ? weights.status() : ids.status();
  const RoutingView routing{static_cast<const int32_t *>(*ids), static_cast<const float *>(*weights)};
  return runStep(routed.tokens, &routing);
}

Result<uint64_t> BenchSession::runStep(uint32_t tokens, const RoutingView *routing) {
  if (Status status = bridge->wait(); !status.ok())
    return status;
  uint64_t start = nowNs();
  {
    Result<Step> step = session->begin({.tokens = tokens,
                                        .phase = tokens > 64 ? Phase::Prefill : Phase::Decode,
                                        .generation = std::nullopt,
                                        .stream = bridge->stream()});
    if (!step)
      return step.status();
    ConstTensorView in{hiddenOnDevice, shape.dtype, tokens, shape.hidden};
    TensorView out{outputOnDevice, shape.dtype, tokens, shape.hidden};
    for (uint32_t layer : session->layers()) {
      Status status = routing ? step->layer(layer).forward(in, routing->ids, routing->weights, out)
                              : step->layer(layer).forward(in, out);
      if (!status.ok())
        return status;
    }
  }
  if (Status status = bridge->wait(); !status.ok())
    return status;
  return nowNs() - start;
}

Result<uint64_t> BenchSession::runRouted(uint32_t tokens) { return runStep(tokens, nullptr); }

Result<uint64_t> BenchSession::route(uint32_t tokens) {
  uint64_t start = nowNs();
  Result<Step> step = session->begin({.tokens = tokens, .phase = tokens > 64 ? Phase::Prefill : Phase::Decode});
  if (!step)
    return step.status();
  for (uint32_t layer : session->layers())
    if (Status status =
            step->layer(layer).route({hidden.data(), shape.dtype, tokens, shape.hidden}, ids.data(), weights.data());
        !status.ok())
      return status;
  return nowNs() - start;
}

std::pair<double, double> medianInterval(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double n = static_cast<double>(values.size()), half = 0.98 * std::sqrt(n); // 1.96 * sqrt(n) / 2
  auto low = static_cast<size_t>(std::max(0.0, std::floor((n - 1) / 2 - half)));
  auto high = static_cast<size_t>(std::min(n - 1, std::ceil((n - 1) / 2 + half)));
  return {values[low], values[high]};
}

} // namespace moec::tool
