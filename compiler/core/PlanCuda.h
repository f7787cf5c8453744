// planLayer for GPUs: which tile classes a layer's grouped GEMMs get for a histogram, and what that costs.
//
// Pure functions, as those of Plan.h.
#pragma once

#include "compiler/core/Plan.h"

#include <vector>

namespace moec {

/// The tile classes that a target can run, in the order in which equal ones are preferred. sm_90a: the Hopper family and
/// the portable one; everything else: the portable one, as far as the block's shared memory allows.
std::vector<CudaTile> cudaTiles(const TargetFacts &facts);

/// As planLayer, planTable and predictLayer (Plan.h). Slots: a step's pairs are laid out without gaps on the device, so
/// each expert has room for whatever it gets and nothing spills. Nothing is packed.
LayerPlan planCudaLayer(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &limits);
LayerPlan planCudaTable(const LayerShape &shape, const Histogram &histogram, const TargetFacts &facts,
                        const Calibration &calibration, const PlanLimits &limits, const CudaConfig &config);
double predictCudaLayer(const LayerShape &shape, const CudaConfig &config, const Histogram &histogram,
                        const TargetFacts &facts, const Calibration &calibration);

} // namespace moec
