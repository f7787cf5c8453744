// The cost model of a layer's step on a CPU: rows and tiles in, nanoseconds out.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/LayerShape.h"
#include "compiler/core/TargetFacts.h"

#include <cstdint>

namespace moec {

/// What a GEMM over all of its panels costs.
///
/// Tiles compute while the panels after theirs stream in: the longer of the two counts, and of the
/// shorter what does not hide behind it. The more alike the two are the less does: with both of `ns`
/// it is `exposed * ns`, with a shorter of half the longer a third of that, and so on down to nothing.
/// Packing on the fly adds to it: the packer and the tiles run on the same thread.
struct GemmCost {
  double tileNs = 0;         // nanoseconds for each nsPerStep of the rows' cover, over all threads
  double packedStreamNs = 0; // to read the panels, had they been packed before
  double storedStreamNs = 0; // to read the weights as the checkpoint stores them
  double packNs = 0;         // to pack them on the fly, over all threads
  double exposed = 0;        // share that does not hide where both take as long: 1 less the overlap

  double ns(double coverNsPerStep, bool packed) const {
    double compute = coverNsPerStep * tileNs;
    double stream = packed ? packedStreamNs : storedStreamNs;
    return together(compute, stream) + (packed ? 0 : packNs);
  }
  /// What packing beforehand saves. Not as a difference of two ns(): where packed weights are as large as
  /// stored ones, this is packNs to the last bit for every cover, so that equal savings compare as equal.
  double savedNs(double coverNsPerStep) const {
    double compute = coverNsPerStep * tileNs;
    return packNs + (together(compute, storedStreamNs) - together(compute, packedStreamNs));
  }

private:
  /// Rises with both and has no step where they are equal, so that a cheaper cover never predicts more.
  double together(double compute, double stream) const {
    double longer = compute > stream ? compute : stream, shorter = compute > stream ? stream : compute;
    if (shorter == 0 || exposed == 0)
      return longer;
    return longer + exposed * shorter * (2 * shorter / (longer + shorter));
  }
};

/// The parts that a layer's predicted time is summed from. Work is taken as spread evenly over the
/// threads.
///
/// Not modelled, as no plan changes it: scoring and top-k of the route step.
class LayerCost {
public:
  LayerCost(const LayerShape &shape, const TargetFacts &facts, const Calibration &calibration);

  /// One expert with at least one pair, whose rows' cover costs `coverNsPerStep`. An idle expert
  /// costs nothing.
  double expertNs(double coverNsPerStep, bool packed) const {
    return gateUp.ns(coverNsPerStep, packed) + down.ns(coverNsPerStep, packed);
  }
  /// What keeping that expert packed saves; negative where it costs.
  double expertSavedNs(double coverNsPerStep) const {
    return gateUp.savedNs(coverNsPerStep) + down.savedNs(coverNsPerStep);
  }
  /// The compute part of expertNs alone.
  double expertComputeNs(double coverNsPerStep) const { return coverNsPerStep * (gateUp.tileNs + down.tileNs); }
  /// Router and shared experts, which take all T tokens and are always packed.
  double tokensNs(double coverNsPerStep) const {
    return router.ns(coverNsPerStep, true) + sharedGateUp.ns(coverNsPerStep, true) +
           sharedDown.ns(coverNsPerStep, true);
  }
  double tokensComputeNs(double coverNsPerStep) const {
    return coverNsPerStep * (router.tileNs + sharedGateUp.tileNs + sharedDown.tileNs);
  }
  /// What no kernel choice changes: rows gathered and stored, and the start of each parallel
  /// section.
  double fixedNs(uint32_t tokens, uint64_t pairs) const;

private:
  GemmCost gateUp, down, router, sharedGateUp, sharedDown;
  double gatherNsPerPair = 0, storeNsPerToken = 0, sectionsNs = 0;
};

} // namespace moec
