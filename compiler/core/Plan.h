// planLayer: which kernels, slots, packed experts and order a layer gets for a histogram, and what that costs.
//
// Targets with a GPU are planned by PlanCuda.h; the functions here ask it where `facts.device` says so.
//
// Pure functions of their arguments: no clock, no environment, no libm in a decision, built with
// -ffp-contract=off. The passes, the policy and moec-trace call the same ones, so a decision can be replayed.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Config.h"
#include "compiler/core/Histogram.h"
#include "compiler/core/TargetFacts.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// What a plan may spend.
struct PlanLimits {
  uint32_t maxTileHeights = 5;           // kernels per GEMM; bounds the compile time
  uint64_t packBudgetBytes = UINT64_MAX; // of packed expert weights, per layer
  double slotHeadroom = 1.25;            // slots over the histogram's pairs
  uint32_t slotAlign = 8;                // slots are a multiple of this

  bool operator==(const PlanLimits &) const = default;
};

/// Run-time data of a generation for one layer: may change without a compile.
struct LayerTable {
  std::vector<uint32_t> slots; // [E] rows provided per expert; pairs beyond them spill to generation 0
  std::vector<uint8_t> packed; // [E] 1: the expert's weights are kept packed; 0: packed on the fly as stored
  std::vector<uint16_t> order; // [E] the order in which experts run; CPU: costliest first

  bool operator==(const LayerTable &) const = default;
};

/// `planLayer`'s answer for one layer.
struct LayerPlan {
  LayerConfig config;
  LayerTable table;
  double predictedNs = 0; // of one step with the histogram planned for

  bool operator==(const LayerPlan &) const = default;
};

/// One way to cover an expert's rows with tiles: `tiles[i]` tiles of `config.tileRows[i]` rows.
/// The last tile may overhang the rows; its extra rows are computed and dropped.
struct TileCover {
  std::vector<uint16_t> tiles; // heights in the order in which they run
  double nsPerStep = 0;        // summed Calibration::tileNsPerStep
};

/// The cheapest cover of `rows` rows. Ties take the taller tile, so the answer is unique.
/// Dynamic programming over rows; up to the tallest tile times 8 rows are searched, the rest takes the tile that
/// costs least per row.
TileCover coverRows(uint32_t rows, const CpuConfig &config, const Calibration &calibration);

/// The best plan that can be built for `histogram`: no other set of tile heights within the limits predicts less time
/// (exact where all experts can be packed, else within 1 %). Packs the experts that gain most per byte. The tallest
/// tile that the calibration knows is always in the set, and 1 row where the limits allow two heights.
///
/// Takes below 5 ms for 256 experts. Here and below: `histogram.pairs` has E entries (missing ones count as idle), E is
/// at most 65,536, and the calibration's figures are finite and not negative.
LayerPlan planLayer(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                    const Calibration &calibration, const PlanLimits &limits);

/// The best table for kernels that exist already: same config as `config`, new slots, packing and order.
LayerPlan planTable(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                    const Calibration &calibration, const PlanLimits &limits, const LayerConfig &config);

/// Predicted nanoseconds of one step with `histogram` on a plan made for another one. Experts that overflow
/// their slots are charged on `spill`, the generation-0 config that computes them.
double predictLayer(const LayerShape &shape, const LayerPlan &plan, const LayerConfig &spill,
                    const Histogram &histogram, const TargetFacts &facts, const Calibration &calibration);

/// The plan of generation 0, for uniform routing of `tokens` tokens: the tile heights that cost least over the binomial
/// spread that such routing has, and over a little of every other count.
LayerPlan planGenericLayer(const LayerShape &shape, uint32_t tokens, const TargetFacts &facts,
                           const Calibration &calibration, const PlanLimits &limits);

/// Bytes of one expert's packed weights (gate, up and down).
uint64_t packedExpertBytes(const LayerShape &shape, const TargetFacts &facts);

/// The dtype that a layer's tiles multiply: BF16 for bf16 layers, else F32.
DType computeDType(const LayerShape &shape);

} // namespace moec
