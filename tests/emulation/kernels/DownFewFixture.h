// What tests of down that owns a token's columns have in common. Include combine.cuh first.
#pragma once

#include "tests/emulation/kernels/GemmFixture.h"

namespace moec::emulation {

inline constexpr uint32_t numCountSamples = 2;

/// A case's ids as GemmProblem has them, but that padding is whatever is no expert.
inline std::vector<int32_t> idsOf(const GemmCase &test) {
  std::mt19937_64 random(test.tokens * 7919 + test.k); // as makeProblem()
  std::vector<int32_t> ids = drawCaseIds(test, random);
  for (size_t i = 0; i < ids.size(); i += 2)
    if (ids[i] < 0)
      ids[i] = static_cast<int32_t>(test.experts);
  return ids;
}

inline std::vector<float> pairWeightsOf(const GemmCase &test) {
  std::mt19937_64 random(test.tokens);
  std::vector<float> weights = bench::drawWeights(test.tokens, test.topK, random);
  for (size_t i = 0; i < weights.size(); i += 3)
    weights[i] = -weights[i];
  return weights;
}

inline CountsRing makeRing(DeviceMemory &device, uint32_t experts) {
  return {device.output<uint64_t>(numCountSamples * (experts + 1)), device.output(std::vector<uint32_t>{0}),
          numCountSamples};
}

/// Empty, or where outputs differ or what is wrong with the counts.
inline std::string compareWith(const uint16_t *wanted, const DownFewArgs &args) {
  const auto *got = static_cast<const uint16_t *>(args.output);
  for (size_t i = 0; i < size_t{args.few.numTokens} * args.n; ++i)
    if (got[i] != wanted[i])
      return fmt::format("token {} column {}: {:#x}, wanted {:#x}", i / args.n, i % args.n, got[i], wanted[i]);
  const FewPairs &few = args.few;
  const std::vector<int32_t> ids(few.ids, few.ids + size_t{few.numTokens} * few.topK);
  for (uint32_t expert = 0; expert <= few.numExperts; ++expert) {
    const auto count =
        expert < few.numExperts ? std::count(ids.begin(), ids.end(), static_cast<int32_t>(expert)) : std::ssize(ids);
    if (args.ring.words[few.numExperts + 1 + expert] != countWord(1, static_cast<uint32_t>(count)))
      return fmt::format("count {} is not {}", expert, count);
  }
  return *args.ring.sequence == 1 ? "" : fmt::format("{} samples of the counts", *args.ring.sequence);
}

/// combine of what down has left for few pairs.
template <DownFewConfig C>
std::optional<Failure> combineFew(DeviceMemory &device, const void *expertOutput, const float *pairWeights,
                                  void *output, const GemmCase &test, const FewPairs &few, uint64_t seed) {
  static constexpr CombineConfig config{.element = C.element, .topK = C.topK, .threads = 64};
  CombineArgs args{};
  args.expertOutput = expertOutput;
  args.weights = pairWeights;
  args.output = output;
  args.numTokens = test.tokens;
  args.hidden = test.n;
  args.few = few;
  return launch(device, {.blocks = 2, .threads = config.threads}, seed, [&] { combine<config>(args); });
}

/// Whether down gives the same where it begins while gate-up runs as where it does not. `Step`: gate-up of few pairs
/// and who is down behind it, on memory of their own.
template <class Step> std::string runOverlapped(uint64_t seed) {
  Step inTurn, atOnce;
  if (const auto failure = launchOverlapped(
          atOnce.memory(), atOnce.gateUpShape(), [&] { atOnce.runGateUp(); }, atOnce.downShape(),
          [&] { atOnce.runDown(); }, Random(seed).next()))
    return failure->message;
  Random seeds(seed);
  if (const auto failure = launch(inTurn.memory(), inTurn.gateUpShape(), seeds.next(), [&] { inTurn.runGateUp(); }))
    return "one after the other: " + failure->message;
  if (const auto failure = launch(inTurn.memory(), inTurn.downShape(), seeds.next(), [&] { inTurn.runDown(); }))
    return "one after the other: " + failure->message;
  return atOnce.compareWith(inTurn);
}

} // namespace moec::emulation
