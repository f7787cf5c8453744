// Times the layer on the models' shapes and compares with the floor.
#pragma once

#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"

#include <string>
#include <vector>

namespace moec::bench {

struct MeasureOptions {
  std::vector<std::string> shapes;   // names; empty: all
  std::vector<std::string> kernels;  ///< parts of names, of which a choice must have one; empty: all
  std::vector<uint32_t> tokens;      // batch sizes
  std::vector<double> skews = {0.0}; // 0: uniform routing, else zipf's exponent
  double matrixTflops = 790;         // of a large matrix product on this device
  uint32_t repeats = 11;
  bool overlap = false; // programmatic dependent launch
  // Passes over a problem's choices, back and forth, after one that warms the card; each choice's time is the median of
  // its own. With more than one all choices are shown with their steps, not the best of each family alone.
  uint32_t turns = 1;
  bool everyChoice = false;    // print a line for each choice, not the best alone
  bool alwaysDispatch = false; // launch dispatch where steps of few pairs do without
  bool clusters = true;        // dispatch by a cluster of blocks, where the device has them
  bool gateUpFew = true;       // gateUpFewFp8 in place of quantise and gate-up (Fp8Layer::setGateUpFew)
  bool downFew = true;         // downFew in place of down and combine where it can be (LayerEnds::setDownFew)
  uint32_t restMs = 0;         // before each timing, for the card to cool
  std::string inputFolder; // where inputs (Inputs.h, Fp8Inputs.h) and SHAPE-T-SKEW.bf16, the output, go, for rivals;
                           // empty: nowhere
  std::string jsonPath;    // one JSON line a measurement; empty: none
};

/// Prints a table. "Layer" is dispatch, gate-up, down and combine, which down does where tokens have one expert. Each
/// graph replay runs as many layers as there are routings, each with its own tokens and ids, so that weights come from
/// memory; times are medians over replays.
Status measureLayers(Device &device, Bundle &bundle, const MeasureOptions &options);

/// As measureLayers, of e4m3 weights beside bf16 ones: the best tiles of both, timed in turns.
Status measureFp8Layers(Device &device, Bundle &bundle, const MeasureOptions &options);

/// Of e4m3 weights alone, timed as measureLayers does it; the JSON has a line for each tile. With inputFolder for
/// rivals.
Status measureFp8Alone(Device &device, Bundle &bundle, const MeasureOptions &options);

/// Prints times of the router's product, in each of its tiles, and of each form of dispatch, on the models' shapes.
Status measureSteps(Device &device, Bundle &bundle, bool overlap);

} // namespace moec::bench
