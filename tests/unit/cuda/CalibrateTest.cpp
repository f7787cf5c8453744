// Calibrating a GPU, on one whose kernels take what a calibration says.
#include "tests/unit/cuda/CudaBench.h"

#include "compiler/core/CudaCost.h"
#include "compiler/core/CudaTiles.h"
#include "compiler/core/GpuFit.h"
#include "compiler/kernels/KernelAbi.h"

#include <cmath>
#include <set>

using namespace moec;
using namespace moec::test;

namespace {

/// A device that differs from what is assumed of it: twice the memory's rate, slow tiles, each in its own way.
GpuCalibration otherDevice(const TargetFacts &facts) {
  GpuCalibration gpu = GpuCalibration::assumed(facts);
  double factor = 1.1;
  for (CudaTileCost &cost : gpu.tiles)
    cost.stepNs *= factor, cost.fixedNs = 500, factor += 0.03;
  gpu.memoryBytesPerNs *= 1.4;
  gpu.perSmBytesPerNs *= 1.4;
  gpu.copyBytesPerNs = 1234;
  gpu.overlapLoss = 0.2;
  gpu.launchNs = 1500;
  gpu.dispatchNs = 4000;
  gpu.dispatchNsPerPair = 0.5;
  gpu.dispatchGridNs = 9000;
  return gpu;
}

/// The launch's parameter that has a product's arguments: behind the tensor maps, if there are any.
const GroupedGemmArgs &gemmArgs(const CudaTile &tile, void **parameters) {
  const int numMaps = tile.family == GemmFamily::Portable ? 0 : tile.family == GemmFamily::Hopper ? 2 : 3;
  return *static_cast<const GroupedGemmArgs *>(parameters[numMaps]);
}

/// What launches take on `device`; fake kernels are named after their launch and tile.
struct Clock {
  TargetFacts facts;
  GpuCalibration device;
  std::set<const void *> weights; // that products of one row an expert read
  bool lacksBias = false;         // kernels of a layer with biases would read through null

  double operator()(const std::string &symbol, void **parameters) {
    const std::string what = symbol.substr(0, symbol.find(':'));
    if (what == "dispatchOneBlock" || what == "dispatchCluster") {
      const auto &args = *static_cast<const DispatchArgs *>(parameters[0]);
      return device.launchNs + device.dispatchNs + device.dispatchNsPerPair * args.numPairs;
    }
    if (what == "dispatchGrid")
      return device.dispatchGridNs;
    if (what == "dispatchCount" || what == "dispatchScan" || what == "dispatchPlace")
      return device.dispatchGridNs / 3;
    if (what != "down")
      return 1e9; // nothing else has to run
    const CudaTile tile = *CudaTile::parse(symbol.substr(what.size() + 1));
    const GroupedGemmArgs &args = gemmArgs(tile, parameters);
    if (args.few.ids)
      return 1e9; // a step, which dispatch makes no tables for
    std::vector<uint32_t> rows(args.numExperts);
    for (const TokenTile &entry : std::span(args.tiles, args.tileHead->tokenTiles))
      rows[entry.expert] = entry.endSlot - entry.firstSlot;
    lacksBias |= !args.bias;
    if (rows == std::vector<uint32_t>(16, 1))
      weights.insert(args.weights);
    return cudaGemmCost(cudaGemmWork(tile, {args.n, args.k}, rows, facts.gpu), device.costOf(tile, facts), device).ns;
  }
};

std::shared_ptr<CacheStore> cacheIn(const TemporaryFolder &folder) {
  auto store = CacheStore::open(folder.path());
  REQUIRE(store.ok());
  return std::make_shared<CacheStore>(std::move(*store));
}

/// A bench whose device keeps `clock`'s time.
std::unique_ptr<CudaBench> benchOn(std::shared_ptr<Clock> clock, CalibrationSource source,
                                   std::shared_ptr<CacheStore> cache, std::vector<LayerDescription> layers = {}) {
  auto bench = std::make_unique<CudaBench>([&](SessionOptions &options) { options.calibrationSource = source; },
                                           std::move(layers), std::move(cache));
  bench->cuda.copies = false;
  bench->cuda.copyBytesPerNs = clock->device.copyBytesPerNs;
  bench->cuda.durationNs = [clock](const std::string &symbol, void **parameters) {
    return (*clock)(symbol, parameters);
  };
  return bench;
}

std::shared_ptr<Clock> clockOf(const std::string &target) {
  const TargetFacts facts = *targetByName(target, {});
  return std::make_shared<Clock>(Clock{facts, otherDevice(facts), {}, false});
}

} // namespace

TEST_CASE("calibrating finds what the device's kernels take", "[cuda][calibrate]") {
  const auto clock = clockOf("h100");
  const auto bench = benchOn(clock, CalibrationSource::Measure, nullptr);
  bench->mustOpen();
  REQUIRE(bench->session->host().facts() == clock->facts);
  const Calibration calibration = bench->session->host().calibration();
  CHECK(calibration.measured);
  REQUIRE(calibration.gpu);
  const GpuCalibration &found = *calibration.gpu, &device = clock->device;
  CHECK(found.launchNs == Approx(device.launchNs).epsilon(1e-3));
  CHECK(found.copyBytesPerNs == Approx(device.copyBytesPerNs).epsilon(1e-3));
  CHECK(found.memoryBytesPerNs == Approx(device.memoryBytesPerNs).epsilon(0.03));
  CHECK(found.dispatchNs == Approx(device.dispatchNs).epsilon(1e-3));
  CHECK(found.dispatchNsPerPair == Approx(device.dispatchNsPerPair).epsilon(1e-3));
  CHECK(found.dispatchGridNs == Approx(device.dispatchGridNs).epsilon(1e-3));
  REQUIRE(found.tiles.size() == device.tiles.size());
  // As closely as the fit finds it from exact times: float's milliseconds are all that is lost.
  std::vector<GpuSample> exact;
  for (const GpuCase &what : calibrationCases(clock->facts)) {
    double ns = cudaGemmCost(cudaGemmWork(what.tile, what.gemm, what.rows, clock->facts.gpu),
                             device.costOf(what.tile, clock->facts), device)
                    .ns;
    if (what.kind == GpuCaseKind::Copy)
      ns = 2.0 * static_cast<double>(what.amount) / device.copyBytesPerNs;
    if (what.kind == GpuCaseKind::Dispatch)
      ns = what.amount > kOneBlockPairs
               ? device.dispatchGridNs
               : device.launchNs + device.dispatchNs + device.dispatchNsPerPair * static_cast<double>(what.amount);
    exact.push_back({what, ns});
  }
  const GpuCalibration fitted = fitGpuCalibration(exact, clock->facts);
  for (size_t i = 0; i < found.tiles.size(); ++i) {
    INFO(found.tiles[i].tile.text());
    CHECK(found.tiles[i].stepNs == Approx(fitted.tiles[i].stepNs).epsilon(1e-3));
  }
  // Weights come from other places of a gigabyte, half of which one such launch reads.
  CHECK(clock->weights.size() == 2);
  CHECK_FALSE(clock->lacksBias);
}

TEST_CASE("a device is calibrated by a layer of e4m3 experts as by any, and its plan is of e4m3",
          "[cuda][calibrate][fp8]") {
  const auto clock = clockOf("h100");
  const LayerShape marked{.hidden = 256,
                          .intermediate = 128,
                          .experts = 6,
                          .topK = 2,
                          .dtype = DType::BF16,
                          .sharedIntermediate = 64,
                          .expertFormat = WeightFormat::BlockE4M3};
  const auto bench = benchOn(clock, CalibrationSource::Measure, nullptr, {describeLayer(0, marked)});
  bench->mustOpen();
  const Calibration calibration = bench->session->host().calibration();
  CHECK(calibration.measured);
  REQUIRE(calibration.gpu);
  CHECK(calibration.gpu->tiles.size() == clock->device.tiles.size()); // of two-byte elements
  const CudaConfig config = bench->session->host().livePlan(0).config.cuda;
  CHECK(config.gateUp.family == GemmFamily::Fp8);
  CHECK(hasDenseForm(config.sharedGateUp));
  CHECK(bench->step(bench->cuda.stream()).ok());
}

TEST_CASE("a device is calibrated by a layer whose shared expert joins the routed ones as by any",
          "[cuda][calibrate][joined]") {
  const auto clock = clockOf("h100");
  const LayerShape joined{.hidden = 64,
                          .intermediate = 24,
                          .experts = 512, // more than any case of a product has
                          .topK = 2,
                          .dtype = DType::BF16,
                          .sharedIntermediate = 24,
                          .sharedAlike = true};
  const auto bench = benchOn(clock, CalibrationSource::Measure, nullptr, {describeLayer(0, joined)});
  // Its dispatch makes tables of one expert more.
  uint32_t dispatches = 0, wrong = 0;
  bench->cuda.durationNs = [&, clock](const std::string &symbol, void **parameters) {
    if (symbol.starts_with("dispatch")) {
      const DispatchArgs &args = *static_cast<const DispatchArgs *>(parameters[0]);
      ++dispatches;
      wrong += reinterpret_cast<const int32_t *>(args.tileHead) - args.expertBegin < 514 ||
               args.expertBegin - args.counts < 513 || args.numTokens * args.topK != args.numPairs;
    }
    return (*clock)(symbol, parameters);
  };
  bench->mustOpen();
  const Calibration calibration = bench->session->host().calibration();
  CHECK(calibration.measured);
  REQUIRE(calibration.gpu);
  CHECK(calibration.gpu->dispatchNs == Approx(clock->device.dispatchNs).epsilon(1e-3));
  CHECK(bench->step(bench->cuda.stream()).ok());
  CHECK(dispatches > 0);
  CHECK(wrong == 0);
}

TEST_CASE("a card whose assumed figures were fitted to hardware is not measured unasked", "[cuda][calibrate]") {
  TemporaryFolder folder;
  auto bench = benchOn(clockOf("h100"), CalibrationSource::Once, cacheIn(folder));
  bench->mustOpen();
  CHECK_FALSE(bench->session->host().calibration().measured);
  CHECK(bench->cuda.count("cuGraphLaunch") == 0);
}

TEST_CASE("a card that nobody has measured is calibrated once", "[cuda][calibrate]") {
  TemporaryFolder folder;
  const auto clock = clockOf("a100");
  Calibration measured;
  for (bool first : {true, false}) {
    auto bench = benchOn(clock, CalibrationSource::Once, cacheIn(folder));
    bench->cuda.model = "NVIDIA A100-SXM4-80GB";
    bench->cuda.major = 8, bench->cuda.minor = 0, bench->cuda.multiprocessors = 108, bench->cuda.memoryKhz = 1'593'000;
    bench->mustOpen();
    CHECK((bench->cuda.count("cuGraphLaunch") > 0) == first);
    CHECK(bench->session->host().calibration().measured);
    if (first)
      measured = bench->session->host().calibration();
    CHECK(bench->session->host().calibration().toJson() == measured.toJson());
  }
}

TEST_CASE("a GPU is calibrated when asked, planned with it, and found in the cache from then on", "[cuda][calibrate]") {
  TemporaryFolder folder;
  const auto clock = clockOf("h100");
  auto bench = benchOn(clock, CalibrationSource::Measure, cacheIn(folder));
  bench->mustOpen();
  const Calibration measured = bench->session->host().calibration();
  CHECK(measured.measured);
  CHECK(bench->session->host().livePlan(0).predictedNs ==
        planGenericLayer(bench->layers[0].shape, bench->options.plannedTokens, clock->facts, measured, {}).predictedNs);
  bench.reset(); // one fake driver at a time
  bench = benchOn(clock, CalibrationSource::Once, cacheIn(folder));
  bench->mustOpen();
  CHECK(bench->session->host().calibration().toJson() == measured.toJson());
  CHECK(bench->compiler.compiles == 0);
  CHECK(bench->cuda.count("cuGraphLaunch") == 0);
  // What it belongs to: another GPU does not take it.
  bench.reset();
  bench = benchOn(clockOf("h200"), CalibrationSource::Once, cacheIn(folder));
  bench->cuda.model = "NVIDIA H200", bench->cuda.memoryKhz = 3'201'000, bench->cuda.busBits = 6144;
  bench->mustOpen();
  CHECK_FALSE(bench->session->host().calibration().measured);
}

TEST_CASE("calibrating leaves no kernel and no memory behind", "[cuda][calibrate]") {
  const auto clock = clockOf("h100");
  auto bench = benchOn(clock, CalibrationSource::Assumed, nullptr);
  bench->mustOpen();
  const size_t without = bench->cuda.outstanding();
  bench.reset(); // one fake driver at a time
  bench = benchOn(clock, CalibrationSource::Measure, nullptr);
  bench->mustOpen();
  CHECK(bench->cuda.outstanding() == without);
}

TEST_CASE("a failed call while calibrating fails the opening, and leaks nothing", "[cuda][calibrate]") {
  const auto bench = benchOn(clockOf("h100"), CalibrationSource::Measure, nullptr);
  size_t failures = 0;
  for (uint64_t call = 40;; call += 397) { // each of some thousand calls in its turn would take minutes
    bench->cuda.failCall(call);
    Result<Session> opened = bench->open();
    if (!bench->cuda.failed())
      break;
    INFO(call << ": " << bench->cuda.failedName());
    CHECK_FALSE(opened.ok());
    CHECK(bench->cuda.outstanding() == 0);
    ++failures;
  }
  CHECK(failures > 3);
}

TEST_CASE("a calibration of the other kind of device is refused", "[cuda][calibrate]") {
  const TargetFacts cpu{.name = "cpu-avx2", .isa = CpuIsa::Avx2};
  CudaBench bench([&](SessionOptions &options) { options.calibration = Calibration::assumed(cpu, DType::BF16); });
  const Status status = bench.open().status();
  CHECK(status.code() == Code::InvalidArgument);
  CHECK(status.message() == "calibration: a calibration of a CPU, but target h100 is a GPU");
}
