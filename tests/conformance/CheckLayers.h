// Runs random layers through the whole path and holds them against the float64 reference.
#pragma once

#include "tests/conformance/RandomLayer.h"

#include <string>

namespace moec::conformance {

/// What a device is asked for: relative L2 distances by dtype, and which layers it can run.
struct Bounds {
  double f32 = 1e-5, bf16 = 1e-2, f16 = 1e-2; // f16 layers compute in f32 and round once on a CPU
  /// Where experts are multiplied in e4m3: what is activated may round to another bf16 than the reference's, and so
  /// move a scale or fall to the next code, of which a row or two are made up.
  double e4m3 = 3e-2;
  double margin =
      1e-6; // tokens whose last expert is nearer to the next than this are left out: the choice is rounding's
  bool skipF32 = false;
};

/// Requires each layer of these seeds to be within the bounds on `target`, and on sm_90a one in forty at least to be
/// computed in e4m3, one in ten with a shared expert joined to the routed ones, one in fifty with both. Prints how
/// many there were and the worst. Compiles with `testCompiler`.
void checkLayers(uint64_t first, uint64_t count, const std::string &target, const Bounds &bounds);

} // namespace moec::conformance
