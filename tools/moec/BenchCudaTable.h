// What `moec bench` on a GPU found, and how it is shown.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/CudaWork.h"
#include "compiler/core/TargetFacts.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace moec::tool {

struct Times {
  double us = 0, low = 0, high = 0; // median of one layer's forward, its 95 % interval
};

/// One kernel of a layer; dispatch is one, in however many launches.
struct KernelRow {
  std::string name;
  double us = 0;
  double predictedUs = 0; // by the planner; 0: it predicts no such part
  CudaWork work;
};

struct CudaRow {
  uint32_t tokens = 0;
  double experts = 0;          // hit in a step, on average
  Times graph, stream, routed; // routing given, in a graph and launch by launch; the model's router, in a graph
  double predictedUs = 0;      // of `graph`
  double rotatedBytes = 0;     // weights that the runs read one after another before any comes again
  CudaWork work;               // of the layer, routing given
  std::vector<KernelRow> kernels;
  std::string config;
};

/// What floors are reckoned with.
struct FloorRates {
  bool measured = false; // by calibration; else the data sheet's
  double bytesPerNs = 0, flopsPerNs = 0;

  double floorUs(const CudaWork &work) const { return work.floorNs(bytesPerNs, flopsPerNs) / 1e3; }
};

struct CudaReport {
  std::string model, routing;
  LayerShape shape;
  TargetFacts facts;
  size_t layers = 1;
  FloorRates rates;
  Calibration calibration; // that all rows were planned with
  std::vector<CudaRow> rows;
};

std::string reportText(const CudaReport &report);
/// docs/formats.md.
nlohmann::json reportJson(const CudaReport &report);

} // namespace moec::tool
