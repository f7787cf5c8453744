#include "tests/conformance/CheckLayers.h"

#include "compiler/core/CudaTiles.h"
#include "compiler/core/JoinedShared.h"
#include "runtime/HostRunner.h"
#include "runtime/weights/Convert.h"
#include "tests/conformance/TestCompiler.h"
#include "tests/unit/Catch.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace moec::conformance {
namespace {

/// The bounds are for the norm over many elements. Where an output has a handful, one sum whose terms cancel, each
/// rounded before, is a large part of the norm (measured: 1.13 % for three elements in bf16, in one of 2,000 layers).
double tolerance(const Bounds &bounds, DType dtype, bool e4m3, size_t elements) {
  const double few = elements < 8 && dtype != DType::F32 ? 2 : 1;
  return few * (e4m3 ? bounds.e4m3 : dtype == DType::F32 ? bounds.f32 : dtype == DType::F16 ? bounds.f16 : bounds.bf16);
}

std::vector<uint8_t> pack(const std::vector<double> &values, DType dtype) {
  std::vector<float> singles(values.begin(), values.end());
  std::vector<uint8_t> bytes(values.size() * byteSize(dtype));
  convert(singles.data(), DType::F32, bytes.data(), dtype, singles.size());
  return bytes;
}

std::vector<float> unpack(const std::vector<uint8_t> &bytes, DType dtype) {
  std::vector<float> singles(bytes.size() / byteSize(dtype));
  convert(bytes.data(), dtype, singles.data(), DType::F32, singles.size());
  return singles;
}

struct Computed {
  std::vector<float> output; // [T, H]
  bool e4m3 = false;         // the target multiplies the routed experts so
  bool joined = false;       // and a shared one with them, in whatever elements
  bool hopper = false;       // the target has kernels for that
};

/// What the compiled layer computes.
Result<Computed> computed(const RandomLayer &layer, const std::shared_ptr<const WeightSource> &weights,
                          const std::string &target, std::shared_ptr<Compiler> compiler) {
  std::filesystem::path file =
      std::filesystem::temp_directory_path() / fmt::format("moec-conformance-{}.mlir", getpid());
  std::ofstream(file) << layer.text;
  Result<std::shared_ptr<const Model>> model = Model::load(file.string(), {.compiler = std::move(compiler)});
  std::filesystem::remove(file);
  if (!model)
    return model.status();
  SessionOptions options;
  options.device = target;
  options.maxTokens = std::max(1u, layer.tokens);
  options.maxSteps = 1;
  options.threads = 2;
  options.packBudget = *PackBudget::parse(layer.packBudget);
  options.weightSource = weights;
  options.plannedTokens = layer.plannedTokens;
  options.calibrationSource = CalibrationSource::Assumed;
  Result<Session> session = Session::open(*model, options);
  if (!session)
    return session.status();
  Result<HostRunner> runner = HostRunner::make(*session);
  if (!runner)
    return runner.status();
  const LayerShape &shape = layer.spec.shape;
  std::vector<uint8_t> hidden = pack(layer.hidden.values, shape.dtype), output(hidden.size(), 0xff);
  ConstTensorView in{hidden.data(), shape.dtype, layer.tokens, shape.hidden};
  TensorView out{output.data(), shape.dtype, layer.tokens, shape.hidden};
  std::vector<float> routeWeights(layer.routeWeights.values.begin(), layer.routeWeights.values.end());
  const RoutingView routing{layer.ids.values.data(), routeWeights.data()};
  Status status =
      runner->forward(layer.spec.layers[0], Phase::Decode, in, layer.callerRoutes ? &routing : nullptr, out);
  if (!status.ok())
    return status;
  const LayerShape &described = (*model)->find(layer.spec.layers[0])->shape;
  const TargetFacts &facts = session->host().facts();
  return Computed{unpack(output, shape.dtype), multipliesE4M3(described, facts),
                  facts.device == DeviceKind::Cuda && joinsShared(described), facts.arch == "sm_90a"};
}

/// Relative L2 distance over the tokens whose experts are not a matter of rounding.
double distance(const std::vector<float> &got, const Expected &expected, double margin) {
  double error = 0, norm = 0;
  int64_t hidden = expected.output.shape[1];
  for (int64_t token = 0; token < expected.output.shape[0]; ++token) {
    if (!expected.margin.empty() && expected.margin[static_cast<size_t>(token)] < margin)
      continue;
    for (int64_t column = 0; column < hidden; ++column) {
      double want = expected.output.row(token)[column], have = got[static_cast<size_t>(token * hidden + column)];
      error += (have - want) * (have - want), norm += want * want;
    }
  }
  return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}

} // namespace

void checkLayers(uint64_t first, uint64_t count, const std::string &target, const Bounds &bounds) {
  const std::shared_ptr<Compiler> compiler = testCompiler();
  double worst = 0;
  uint64_t checked = 0, e4m3 = 0, joined = 0, joinedE4M3 = 0;
  bool hopper = false;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    RandomLayer layer = makeLayer(seed);
    if (bounds.skipF32 && layer.spec.shape.dtype == DType::F32)
      continue;
    ++checked;
    INFO("seed " << seed << ": " << layer.describe());
    Result<std::unique_ptr<WeightSource>> weights = openWeights(layer.weights);
    REQUIRE(weights.ok());
    std::shared_ptr<const WeightSource> source = std::move(*weights);
    Result<Computed> got = computed(layer, source, target, compiler);
    INFO(got.status().message());
    REQUIRE(got.ok());
    e4m3 += got->e4m3;
    joined += got->joined;
    joinedE4M3 += got->e4m3 && got->joined;
    hopper |= got->hopper;
    Result<Expected> expected = expectedOf(layer, *source, {got->e4m3, got->e4m3 && got->joined});
    INFO(expected.status().message());
    REQUIRE(expected.ok());
    const std::vector<float> &output = got->output;
    REQUIRE(output.size() == expected->output.values.size());
    double error = distance(output, *expected, bounds.margin),
           bound = tolerance(bounds, layer.spec.shape.dtype, got->e4m3, output.size());
    worst = std::max(worst, error / bound);
    CHECK(error <= bound);
  }
  CHECK((!hopper || (e4m3 >= checked / 40 && joined >= checked / 10 && joinedE4M3 >= checked / 50)));
  std::printf("%llu layers on %s, %llu of them in e4m3, %llu with a shared expert joined (%llu in e4m3): "
              "worst error %.3f of the bound\n",
              static_cast<unsigned long long>(checked), target.c_str(), static_cast<unsigned long long>(e4m3),
              static_cast<unsigned long long>(joined), static_cast<unsigned long long>(joinedE4M3), worst);
}

} // namespace moec::conformance
