// What a placement costs: nanoseconds by the planner, or pairs where nothing is known of the device.
#pragma once

#include "compiler/core/Placement.h"
#include "compiler/core/Plan.h"

#include <vector>

namespace moec {

/// One step of a layer, and how many steps it stands for.
struct PlacedStep {
  Histogram routing; // of all E experts
  double weight = 1;
};

/// What one expert's rows cost the device that it is on, beside other experts: piecewise linear in rows, 0 for none,
/// never falling. Less than one row stands for steps of which some have one.
///
/// A layer's time is nearly a sum over its experts (their weights are read, their rows multiplied), so searching over
/// such a sum finds what predictDevices then confirms.
class RowCost {
public:
  /// Each row costs 1: for balancing pairs.
  static RowCost ofPairs();
  /// From planLayer's predictions for `experts` experts with the same rows each, up to `mostRows`, less what it
  /// predicts for as many tokens none of which has an expert there.
  static RowCost planned(const LayerShape &shape, uint32_t experts, uint32_t mostRows, const TargetFacts &facts,
                         const Calibration &calibration, const PlanLimits &limits);
  /// The same, and `ns` more for each row (what its exchange takes).
  RowCost withRow(double ns) const;

  double at(double rows) const;

private:
  std::vector<double> rows,
      ns; // ascending, rows from 1 on; after the last as between the last two, a single point as from 0
};

/// The layer as one of the devices computes it: `experts` experts, no shared expert (which placement does not move).
LayerShape shapeOnDevice(const LayerShape &shape, uint32_t experts);

/// A weighted mean of steps.
struct PlacementPrediction {
  double slowest = 0; // of the device that a step waits for
  double mean = 0;    // of all devices
};

/// By the planner: nanoseconds of each device on the best plan for its part of the step, and `nsPerRow` for each row.
PlacementPrediction predictDevices(const LayerPlacement &placement, const std::vector<PlacedStep> &steps,
                                   const LayerShape &shape, const TargetFacts &facts, const Calibration &calibration,
                                   const PlanLimits &limits, double nsPerRow);

/// By a sum over experts, in what `cost` counts.
PlacementPrediction sumDevices(const LayerPlacement &placement, const std::vector<PlacedStep> &steps,
                               const RowCost &cost);

} // namespace moec
