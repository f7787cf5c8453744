// Down that writes outputs itself (GemmConfig::combines) gives the bits that the plain form and combine give.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/groupedGemmFitted.cuh"
#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/kernels/GemmFp8Fixture.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr uint32_t kFewSchedules = 6, numSamples = 2;

/// One expert a token.
std::vector<GemmCase> cases() {
  return {{"one token", 1, 80, 40, 4, 1, GemmCase::Drawn, true, false},
          {"odd sizes", 21, 272, 200, 4, 1, GemmCase::Drawn, true, true},
          {"all tokens to one expert", 70, 80, 136, 4, 1, GemmCase::OneExpert, true, false},
          {"more tokens than blocks have lanes", 150, 80, 88, 7, 1, GemmCase::Drawn, true, true},
          {"padding", 75, 64, 264, 4, 1, GemmCase::Padded, true, false},
          {"few tokens, some padding", 30, 144, 88, 4, 1, GemmCase::Padded, true, false},
          {"padding alone", 3, 64, 64, 4, 1, GemmCase::PaddingAlone, true, false}};
}

/// What a run of a case is made of.
struct Run {
  GemmCase test;
  bool few, weighted; // found by kernels, without dispatch; times the tokens' weights
  uint64_t seed;

  std::vector<int32_t> ids() const {
    std::mt19937_64 random(test.tokens * 7919 + test.k); // as makeProblem()
    std::vector<int32_t> ids = drawCaseIds(test, random);
    for (size_t i = 0; i < ids.size(); i += 2) // padding is whatever is no expert
      if (ids[i] < 0)
        ids[i] = static_cast<int32_t>(test.experts);
    return ids;
  }
};

/// The launches' buffers beside those of the products.
struct Outputs {
  DeviceMemory &device;
  const Run &run;
  const bench::ReferenceSlots &slots;
  const float *weights;
  uint16_t *wanted, *got; // [T, n]
  CountsRing ring{};

  Outputs(DeviceMemory &device, const Run &run, const bench::ReferenceSlots &slots)
      : device(device), run(run), slots(slots) {
    const GemmCase &test = run.test;
    std::mt19937_64 random(test.tokens);
    weights = device.input(bench::drawWeights(test.tokens, 1, random));
    const std::vector<uint16_t> nan(size_t{test.tokens} * test.n, 0x7fff);
    wanted = device.output(nan);
    got = device.output(nan);
    ring = {device.output<uint64_t>(numSamples * (test.experts + 1)), device.output(std::vector<uint32_t>{0}),
            numSamples};
  }

  FewPairs few() const {
    return run.few ? FewPairs{device.constant(run.ids()), run.test.tokens, 1, run.test.experts, 0, nullptr}
                   : FewPairs{};
  }

  /// From the plain form's arguments those of the other.
  GroupedGemmArgs combining(GroupedGemmArgs args) const {
    args.output = got;
    args.numRows = run.test.tokens;
    args.pairWeights = run.weighted ? weights : nullptr;
    args.ids = device.input(run.ids());
    args.ring = ring; // of which dispatch has had its sample
    return args;
  }

  template <bool Weighted> std::optional<Failure> combineOf(const void *expertOutput) const {
    static constexpr CombineConfig config{.element = Element::BF16, .topK = 1, .threads = 256, .weighted = Weighted};
    CombineArgs args{};
    args.expertOutput = expertOutput;
    args.slotOfPair = device.constant(slots.slotOfPair);
    args.weights = weights;
    args.output = wanted;
    args.numTokens = run.test.tokens;
    args.hidden = run.test.n;
    return launch(device, {.blocks = 2, .threads = config.threads}, run.seed, [&] { combine<config>(args); });
  }

  /// Empty, or what is wrong.
  std::string check() const {
    for (size_t i = 0; i < size_t{run.test.tokens} * run.test.n; ++i)
      if (got[i] != wanted[i])
        return fmt::format("token {} column {}: {:#x}, combine gives {:#x}", i / run.test.n, i % run.test.n, got[i],
                           wanted[i]);
    if (*ring.sequence != (run.few ? 1 : 0))
      return fmt::format("{} samples of the counts", *ring.sequence);
    if (!run.few)
      return "";
    const std::vector<int32_t> ids = run.ids();
    const uint64_t *sample = ring.words + (run.test.experts + 1);
    for (uint32_t e = 0; e <= run.test.experts; ++e) {
      const auto count = e == run.test.experts ? static_cast<uint32_t>(ids.size())
                                               : static_cast<uint32_t>(std::count(ids.begin(), ids.end(), int32_t(e)));
      if (sample[e] != countWord(1, count))
        return fmt::format("count {} is {}, expected {}", e, countOf(sample[e]), count);
    }
    return "";
  }
};

/// `plain`, `combining`: the two launches.
template <class Plain, class Combining>
std::string compareForms(const Outputs &outputs, const void *expertOutput, Plain plain, Combining combining) {
  if (const auto failure = plain())
    return failure->message;
  if (const auto failure =
          outputs.run.weighted ? outputs.combineOf<true>(expertOutput) : outputs.combineOf<false>(expertOutput))
    return failure->message;
  if (const auto failure = combining())
    return failure->message;
  return outputs.check();
}

template <GemmConfig C> LaunchShape shapeOf(uint32_t sharedBytes) {
  return {.blocks = 4,
          .threads = hopperThreads(C),
          .sharedBytes = sharedBytes,
          .dynamicShared = unaligned,
          .unwrittenRows = true,
          .clusterBlocks = C.clusterBlocks};
}

template <GemmConfig C> std::string fittedForms(const Run &run) {
  const GemmProblem p = makeProblem(run.test, GemmRole::Down, C.element);
  DeviceMemory device;
  GroupedGemmArgs args = gemmArgs(device, p, C.tileTokens);
  args.tileCounters = device.output(std::vector<uint32_t>(kTileCounters));
  settleTables(device, args);
  const Outputs outputs(device, run, p.slots);
  args.few = outputs.few();
  const GroupedGemmArgs other = outputs.combining(args);
  const uint32_t rows = mappedRows(p.slots);
  const TensorMap weights = fittedWeightMap(C, args), output = rowMap(args.output, args.n, rows, kOutputBoxRows),
                  tokens = rowMap(args.tokens, args.k, rows, tokenBoxRows(C));
  const LaunchShape shape = shapeOf<C>(hopperSharedBytes(C));
  return compareForms(
      outputs, args.output,
      [&] {
        return launch(device, shape, run.seed,
                      [&] { groupedGemmFitted<C, NoActivation>(weights, tokens, output, args); });
      },
      [&] {
        return launch(device, shape, run.seed + 1,
                      [&] { groupedGemmFitted<combining(C), NoActivation>(weights, tokens, output, other); });
      });
}

template <GemmConfig C> std::string fp8Forms(const Run &run) {
  const Fp8Problem p = makeFp8Problem(run.test, GemmRole::Down);
  Fp8Launch<C> product(p);
  const Outputs outputs(product.device, run, p.slots);
  product.args.gemm.few = outputs.few();
  Fp8GemmArgs other = product.args;
  other.gemm = outputs.combining(other.gemm);
  const TensorMap output = rowMap(product.args.gemm.output, p.test.n, product.numRows(), kOutputBoxRows);
  const LaunchShape shape = shapeOf<C>(fp8SharedBytes(C));
  return compareForms(
      outputs, product.args.gemm.output,
      [&] { return launch(product.device, shape, run.seed, product.kernel(output)); },
      [&] {
        return launch(product.device, shape, run.seed + 1, [&] {
          groupedGemmFp8<combining(C), NoActivation>(product.weights, product.tokens, output, other);
        });
      });
}

template <GemmConfig C, class RunOne> void checkCases(RunOne runOne) {
  for (const GemmCase &test : cases())
    for (bool few : {false, true}) {
      if (few && test.tokens > (mayFindBlockPairs(C) ? kBlockRows : kFewPairs))
        continue;
      CAPTURE(test.name, few);
      forSchedules(kFewSchedules, [&](uint64_t seed) { return runOne(Run{test, few, seed % 3 != 0, seed}); });
    }
}

constexpr GemmConfig narrow = fittedConfig(Element::BF16, GemmRole::Down, 16, 64, 128, 3, 1, 2),
                     fewWeights = fittedConfig(Element::BF16, GemmRole::Down, 16, 32, 256, 3, 1, 1),
                     wide = inPairs(fittedConfig(Element::BF16, GemmRole::Down, 96, 256, 64, 4, 2, 1)),
                     narrowFp8 = fp8Config(GemmRole::Down, 16, 64, 256, 5, 1, 2),
                     wholeFp8 = fp8Config(GemmRole::Down, 16, 256, 128, 3, 2, 1),
                     wideFp8 = fp8Config(GemmRole::Down, 64, 128, 128, 4, 2, 1),
                     rowsFp8 = inRows(fp8Config(GemmRole::Down, 128, 256, 128, 4, 2, 1));

} // namespace

TEST_CASE("fitted down that combines gives combine's bits", "[emulation][combining]") {
  checkCases<narrow>(fittedForms<narrow>);
  checkCases<fewWeights>(fittedForms<fewWeights>);
  checkCases<wide>(fittedForms<wide>);
}

TEST_CASE("e4m3 down that combines gives combine's bits", "[emulation][combining]") {
  checkCases<narrowFp8>(fp8Forms<narrowFp8>);
  checkCases<wholeFp8>(fp8Forms<wholeFp8>); // a row for each warp
  checkCases<wideFp8>(fp8Forms<wideFp8>);
  checkCases<rowsFp8>(fp8Forms<rowsFp8>);
}
