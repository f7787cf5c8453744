// planLayer for GPUs: which tile classes a layer's grouped GEMMs get for a histogram, and what that costs.
//
// Pure functions, as those of Plan.h. docs/planner-gpu.md has the model and how far it is from what was measured.
#pragma once

#include "compiler/core/CudaCost.h"
#include "compiler/core/CudaTiles.h"
#include "compiler/core/Plan.h"

#include <vector>

namespace moec {

/// A set of tile classes that a layer could run.
struct CudaCandidate {
  CudaConfig config;
  double predictedNs = 0; // of one step
  uint32_t place = 0;     // among all pairs in the order of the calibration's tiles, gate-up's first
};

/// All pairs of tiles for gate-up and down that can run together (dispatch cuts each expert's rows once, so both have
/// the same tokens), least predicted time first; equal ones in the order of the calibration's tiles. Every candidate
/// has the best tiles for the shared expert.
std::vector<CudaCandidate> cudaCandidates(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                                          const Calibration &calibration);

/// Where the time of a step goes.
struct CudaStepCost {
  CudaGlueCost glue;
  CudaGemmCost gateUp, down;
  double earlyDownNs = 0;                // that both take less together
  CudaQuantiseCost quantise;             // where experts are multiplied in e4m3
  CudaGemmCost sharedGateUp, sharedDown; // zeros where the layer has no shared expert, or it joins the routed ones

  double ns() const {
    return glue.ns() + quantise.ns() + gateUp.ns + down.ns - earlyDownNs + sharedGateUp.ns + sharedDown.ns;
  }
};
CudaStepCost cudaStepCost(const LayerShape &shape, const CudaConfig &config, const Histogram &histogram,
                          const TargetFacts &facts, const Calibration &calibration);

/// As planLayer, planTable and predictLayer (Plan.h). The model cannot tell candidates within 0.5 % of each other
/// apart, and steps vary: of those within 0.5 % of the best one for the histogram the plan takes one that serves twice
/// the load best, and of those within 0.5 % there the first by its place.
///
/// Slots: a step's pairs are laid out without gaps on the device, so each expert has room for whatever it gets and
/// nothing spills. Nothing is packed. Below 0.2 ms for 384 experts.
LayerPlan planCudaLayer(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &limits);
LayerPlan planCudaTable(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &limits, const CudaConfig &config);
double predictCudaLayer(const LayerShape &shape, const CudaConfig &config, const Histogram &histogram,
                        const TargetFacts &facts, const Calibration &calibration);

/// As planGenericLayer: for the counts that `tokens` tokens have when each picks its experts by chance.
LayerPlan planCudaGeneric(const LayerShape &shape, uint32_t tokens, const TargetFacts &facts,
                          const Calibration &calibration, const PlanLimits &limits);

} // namespace moec
