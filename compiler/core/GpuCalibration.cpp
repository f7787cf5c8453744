#include "compiler/core/GpuCalibration.h"

#include "compiler/core/CudaTiles.h"
#include "compiler/core/Keys.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace moec {

namespace {

// Fitted to the layers measured on an H200 (docs/performance-log.md) with the mean error that docs/planner-gpu.md
// states.
constexpr double memoryShare = 0.96; // of the data sheet's rate
constexpr double copyShare = 0.85;   // the same; measured by itself: 4.08 of 4.8 TB/s, 2.97 of 3.35 on an H100
constexpr double hopperShare = 0.80; // of the matrix rate, before operands
constexpr double fittedShare = 0.84; // the same; fitted to an H100's layers (docs/results/2026-11-26-h100)
// Of bf16's matrix rate, since adding up every 128 elements does not hide behind the products: with token rows on the
// 64-row side that costs half. One warpgroup alone waits for itself, two blocks of one less. Fitted to layers of an
// H100 (docs/results/2026-11-27-h100-few/e4m3-every-tile.txt) and an H200 (2026-11-28-h200/e4m3-every-tile.txt).
constexpr double fp8RowsShare = 1.36, fp8Share = 1.08, fp8TwoBlocksShare = 0.4, fp8LoneShare = 0.28;
constexpr double portableFlopsPerNs = 3420; // of one multiprocessor: what `mma.sync` reaches on Hopper
constexpr double portableShare = 0.75; // of the matrix rate, on targets where `mma.sync` is the way to it; not measured
constexpr double portableOperandBytesPerNs = 213, hopperOperandBytesPerNs = 445; // into a multiprocessor's matrix units
constexpr double perSmBytesPerNs = 82;
constexpr double loneFixedNs = 400, loneFixedNsPerElement = 0.02; // fill and epilogue, of a block without a neighbour

struct Number {
  const char *name;
  double GpuCalibration::*member;
  double least, most;
};

constexpr double mostNs = 1e12, leastRate = 1e-6, mostRate = 1e9;
constexpr Number numbers[] = {
    {"memory_bytes_per_ns", &GpuCalibration::memoryBytesPerNs, leastRate, mostRate},
    {"per_sm_bytes_per_ns", &GpuCalibration::perSmBytesPerNs, leastRate, mostRate},
    {"copy_bytes_per_ns", &GpuCalibration::copyBytesPerNs, leastRate, mostRate},
    {"overlap_loss", &GpuCalibration::overlapLoss, 0, 1},
    {"launch_ns", &GpuCalibration::launchNs, 0, mostNs},
    {"dispatch_ns", &GpuCalibration::dispatchNs, 0, mostNs},
    {"dispatch_ns_per_pair", &GpuCalibration::dispatchNsPerPair, 0, mostNs},
    {"dispatch_grid_ns", &GpuCalibration::dispatchGridNs, 0, mostNs},
};

CudaTileCost readTileCost(const JsonValue &json) {
  CudaTileCost cost;
  if (Result<CudaTile> tile = CudaTile::parse(json["tile"].text()))
    cost.tile = *tile;
  else
    json["tile"].fail(tile.status().message());
  cost.stepNs = json["step_ns"].number(0, mostNs);
  cost.fixedNs = json["fixed_ns"].number(0, mostNs);
  return cost;
}

double fp8ShareOf(const CudaTile &tile) {
  if (tile.warpsTokens > 1)
    return tile.swapAB ? fp8Share : fp8RowsShare;
  return tile.blocksPerSm > 1 ? fp8TwoBlocksShare : fp8LoneShare;
}

/// Operations a nanosecond of one multiprocessor whose operands are there; `peak`: of two-byte elements, by the data
/// sheet.
double assumedRate(const CudaTile &tile, double peak) {
  switch (tile.family) {
  case GemmFamily::Portable: return std::min(portableShare * peak, portableFlopsPerNs);
  case GemmFamily::Hopper: return hopperShare * peak;
  case GemmFamily::Fitted: return fittedShare * peak;
  case GemmFamily::Fp8: return fp8ShareOf(tile) * peak;
  }
  return peak;
}

} // namespace

CudaTileCost assumedTileCost(const CudaTile &tile, const TargetFacts &facts) {
  const bool portable = tile.family == GemmFamily::Portable;
  const double rate = assumedRate(tile, facts.gpu.matrixFlopsPerNs / std::max(1u, facts.gpu.multiprocessors));
  const double products = double{kCudaTileK} * tile.tokens * tile.weights;
  const double operandBytes = 1.0 * elementBytes(tile) * kCudaTileK * (tile.tokens + tile.weights);
  CudaTileCost cost{tile, 0, 0};
  cost.stepNs = 2 * products / rate + operandBytes / (portable ? portableOperandBytesPerNs : hopperOperandBytesPerNs);
  if (tile.blocksPerSm == 1 && !isFitted(tile)) // a fitted tile's outputs leave while the next one is multiplied
    cost.fixedNs = loneFixedNs + loneFixedNsPerElement * tile.tokens * tile.weights;
  return cost;
}

GpuCalibration GpuCalibration::assumed(const TargetFacts &facts) {
  GpuCalibration gpu;
  for (const CudaTile &tile : cudaTiles(facts))
    gpu.tiles.push_back(assumedTileCost(tile, facts));
  gpu.memoryBytesPerNs = memoryShare * facts.gpu.memoryBytesPerNs;
  gpu.perSmBytesPerNs = moec::perSmBytesPerNs;
  gpu.copyBytesPerNs = copyShare * facts.gpu.memoryBytesPerNs;
  gpu.overlapLoss = 0.26;
  gpu.launchNs = 2000;
  gpu.dispatchNs = 7500;
  gpu.dispatchNsPerPair = 1.5;
  gpu.dispatchGridNs = 16000;
  return gpu;
}

bool GpuCalibration::fittedToHardware(const TargetFacts &facts) {
  return std::ranges::any_of(std::array{"h100", "h200"}, [&](const char *name) {
    const Result<TargetFacts> fitted = targetByName(name, {});
    return fitted && fitted->arch == facts.arch && fitted->gpu == facts.gpu;
  });
}

CudaTileCost GpuCalibration::costOf(const CudaTile &tile, const TargetFacts &facts) const {
  const auto known = std::find_if(tiles.begin(), tiles.end(), [&](const auto &cost) { return cost.tile == tile; });
  if (known != tiles.end())
    return *known;
  CudaTileCost cost = assumedTileCost(tile, facts);
  // No class of e4m3 is measured. A board whose matrix units are slower than its data sheet says is so for e4m3 too.
  if (const double measured = matrixFlopsPerNs(facts); tile.family == GemmFamily::Fp8 && measured > 0)
    cost.stepNs *= assumed(facts).matrixFlopsPerNs(facts) / measured;
  return cost;
}

double GpuCalibration::matrixFlopsPerNs(const TargetFacts &facts) const {
  double best = 0;
  for (const CudaTileCost &cost : tiles)
    if (cost.stepNs > 0 && cost.tile.family != GemmFamily::Fp8)
      best = std::max(best, 2.0 * kCudaTileK * cost.tile.tokens * cost.tile.weights / cost.stepNs *
                                facts.gpu.multiprocessors);
  return best;
}

std::string gpuCalibrationKey(const TargetFacts &facts, DType element, const std::string &buildId) {
  return fmt::format("calibration of gpu\ntarget={}\nelement={}\nbuild={}\n", keyText(facts), dtypeName(element),
                     buildId);
}

nlohmann::ordered_json toJson(const GpuCalibration &gpu) {
  nlohmann::ordered_json json;
  for (const Number &number : numbers)
    json[number.name] = gpu.*number.member;
  json["tiles"] = nlohmann::ordered_json::array();
  for (const CudaTileCost &cost : gpu.tiles)
    json["tiles"].push_back({{"tile", cost.tile.text()}, {"step_ns", cost.stepNs}, {"fixed_ns", cost.fixedNs}});
  return json;
}

GpuCalibration readGpuCalibration(const JsonValue &json) {
  GpuCalibration gpu;
  json.onlyKeys({"memory_bytes_per_ns", "per_sm_bytes_per_ns", "copy_bytes_per_ns", "overlap_loss", "launch_ns",
                 "dispatch_ns", "dispatch_ns_per_pair", "dispatch_grid_ns", "tiles"});
  for (const Number &number : numbers)
    gpu.*number.member = json[number.name].number(number.least, number.most);
  const JsonValue tiles = json["tiles"];
  for (size_t index = 0; index < tiles.size(); ++index)
    gpu.tiles.push_back(readTileCost(tiles.at(index)));
  return gpu;
}

} // namespace moec
