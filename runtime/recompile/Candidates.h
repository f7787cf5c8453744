// The plans that a layer could change to, what each would cost, and why one is faster than another.
#pragma once

#include "runtime/recompile/History.h"
#include "runtime/recompile/Records.h"

#include <span>
#include <string>
#include <vector>

namespace moec {

/// What predictions of one layer depend on besides plan and routing.
struct LayerContext {
  const LayerSetup &setup;
  const TargetFacts &facts;
  const Calibration &calibration;

  double predict(const LayerPlan &plan, const Histogram &histogram) const;
};

/// Predicted nanoseconds of one step of a bucket: the mean over its specimens.
double predictPart(const LayerContext &context, const LayerPlan &plan, const BucketMix &part);
/// Predicted nanoseconds of one step over the mix of buckets.
double predictMix(const LayerContext &context, const LayerPlan &plan, std::span<const BucketMix> mix);

/// What changing from one plan to another saves per step over the mix of buckets.
struct Saving {
  double ns = 0;
  double errorNs = 0; // standard error of `ns`, from how much it differs between specimens
  size_t specimens = 0;
};
Saving predictSaving(const LayerContext &context, const LayerPlan &from, const LayerPlan &to,
                     std::span<const BucketMix> mix);

/// The bucket that most of the live plan's time goes to. `mix` is not empty.
const BucketMix &heaviest(const LayerContext &context, const LayerPlan &live, std::span<const BucketMix> mix);

/// The three ways to change a layer, cheapest first.
struct Candidates {
  LayerPlan table; // same config, same packed experts
  LayerPlan reuse; // same config
  LayerPlan best;
};

/// Plans for the heaviest bucket: tile heights for the spread of real steps, packing for their
/// mean. Their slots hold every recent step of every bucket: a plan for decode must not spill the
/// next prefill. Where a second bucket matters, the best plan is the better one over the mix.
Candidates findCandidates(const LayerContext &context, const LayerPlan &live, std::span<const BucketMix> mix);

/// Experts that `to` packs and `from` does not.
std::vector<uint32_t> newlyPacked(const LayerTable &from, const LayerTable &to);

/// Takes the difference of two plans apart, one part changed at a time, in predicted nanoseconds of
/// a step of `part`. The parts add up to the whole difference.
std::vector<Cause> explainGain(const LayerContext &context, const LayerPlan &from, const LayerPlan &to,
                               const BucketMix &part);

/// Why no plan beats the live one: what is packed, how tight the tiles are, what spills.
std::string explainFit(const LayerContext &context, const LayerPlan &live, const BucketMix &part);

} // namespace moec
