#include "compiler/core/PlanCost.h"

#include "compiler/core/Config.h"
#include "compiler/core/Plan.h"

#include <algorithm>

namespace moec {

namespace {

uint64_t divideUp(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/// [columns, k] weights, and the operands that share a panel: gate and up halve the columns that a
/// panel takes of each.
struct GemmShape {
  uint32_t k = 0, columns = 0, operands = 1;
  bool biased = false;

  uint64_t panels(const TargetFacts &facts) const { return divideUp(columns, 2 * facts.lanes() / operands); }
};

GemmShape gateUpShape(uint32_t hidden, uint32_t intermediate, bool biased = false) {
  return {hidden, intermediate, 2, biased};
}
GemmShape downShape(uint32_t hidden, uint32_t intermediate, bool biased = false) {
  return {intermediate, hidden, 1, biased};
}

uint64_t packedBytes(GemmShape gemm, const TargetFacts &facts, DType compute) {
  return gemm.panels(facts) * panelBytes(gemm.k, facts.lanes(), compute, gemm.biased);
}

GemmCost gemmCost(GemmShape gemm, DType stored, const TargetFacts &facts, const Calibration &calibration) {
  DType compute = stored == DType::BF16 ? DType::BF16 : DType::F32;
  double threads = std::max(1u, facts.threads);
  uint64_t steps = compute == DType::BF16 ? divideUp(gemm.k, 2) : gemm.k;
  auto panelsBytes = static_cast<double>(packedBytes(gemm, facts, compute));
  uint64_t storedColumns = uint64_t{gemm.columns} * gemm.operands;
  auto storedBytes = static_cast<double>(gemm.k * storedColumns) * byteSize(stored);
  if (gemm.biased) // kept as f32 beside the weights
    storedBytes += static_cast<double>(storedColumns * byteSize(DType::F32));
  GemmCost cost;
  cost.tileNs = static_cast<double>(steps) * static_cast<double>(gemm.panels(facts)) / threads;
  cost.packedStreamNs = panelsBytes * calibration.streamNsPerByte;
  cost.storedStreamNs = storedBytes * calibration.streamNsPerByte;
  cost.packNs = panelsBytes * calibration.packNsPerByte / threads;
  cost.exposed = 1 - calibration.overlap;
  return cost;
}

} // namespace

DType computeDType(const LayerShape &shape) { return shape.dtype == DType::BF16 ? DType::BF16 : DType::F32; }

uint64_t packedExpertBytes(const LayerShape &shape, const TargetFacts &facts) {
  DType compute = computeDType(shape);
  return packedBytes(gateUpShape(shape.hidden, shape.intermediate, shape.expertBias), facts, compute) +
         packedBytes(downShape(shape.hidden, shape.intermediate, shape.expertBias), facts, compute);
}

LayerCost::LayerCost(const LayerShape &shape, const TargetFacts &facts, const Calibration &calibration) {
  auto cost = [&](GemmShape gemm) { return gemmCost(gemm, shape.dtype, facts, calibration); };
  gateUp = cost(gateUpShape(shape.hidden, shape.intermediate, shape.expertBias));
  down = cost(downShape(shape.hidden, shape.intermediate, shape.expertBias));
  router = cost({shape.hidden, shape.experts});
  sharedGateUp = cost(gateUpShape(shape.hidden, shape.sharedIntermediate));
  sharedDown = cost(downShape(shape.hidden, shape.sharedIntermediate)); // without columns all cost 0

  // Router with scoring and top-k, dispatch, gate-up, down, store. Shared experts ride in the
  // GEMMs' sections.
  constexpr double sections = 5;
  sectionsNs = sections * calibration.sectionNs;
  double copyNsPerByte = calibration.copyNsPerByte / std::max(1u, facts.threads);
  gatherNsPerPair = copyNsPerByte * shape.hidden * byteSize(computeDType(shape));
  storeNsPerToken = copyNsPerByte * shape.hidden * byteSize(shape.dtype);
}

double LayerCost::fixedNs(uint32_t tokens, uint64_t pairs) const {
  return sectionsNs + gatherNsPerPair * static_cast<double>(pairs) + storeNsPerToken * static_cast<double>(tokens);
}

} // namespace moec
