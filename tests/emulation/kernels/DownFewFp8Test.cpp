// Down of e4m3 that owns a token's columns (downFewFp8) gives the bits that down and combine give, of rows that gate-up
// has quantised and of those that it quantises itself.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/core/DownFewTensor.h"
#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/downFewFp8.cuh"
#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/kernels/DownFewFixture.h"
#include "tests/emulation/kernels/GemmFp8Fixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

enum class Rows : uint8_t { Rounded, Quantised };

LaunchShape shapeOf(const DownFewArgs &args, uint32_t topK, uint32_t groups = 1) {
  return {.blocks = downFewBlocks(args.few.numTokens, args.n) / groups,
          .threads = kDownFewThreads,
          .sharedBytes = downFewFp8SharedBytes(topK, args.k, args.slots),
          .dynamicShared = unaligned,
          .unwrittenRows = true}; // of pairs that have no expert
}

/// downFewFp8 with so many slots against down and combine. `plant`: in downFewFp8 alone.
template <uint32_t TopK, uint32_t Groups = 1>
std::string compareForms(const Fp8Problem &p, Rows rows, uint32_t slots, uint64_t seed, Plant plant = {}) {
  static constexpr GemmConfig plain = fp8Config(GemmRole::Down, 16, 64, 256, 3, 1, 2);
  static constexpr DownFewConfig config{.element = Element::BF16, .topK = TopK, .groups = Groups};
  const GemmCase &test = p.test;
  if (test.topK != TopK || !downIsFewFp8(test.tokens, TopK, test.k, test.n) || test.n % (Groups * kDownFewColumns) != 0)
    return "no case of downFewFp8's";
  Fp8Launch<plain> down(p);
  DeviceMemory &device = down.device;
  const std::vector<uint16_t> nan(size_t{test.tokens} * test.n, 0x7fff);
  uint16_t *wanted = device.output(nan), *got = device.output(nan);
  const float *pairWeights = device.input(pairWeightsOf(test));
  const FewPairs few{device.constant(idsOf(test)), test.tokens, TopK, test.experts, 0, nullptr};
  GroupedGemmArgs &args = down.args.gemm;
  args.few = few;
  const TensorMap output = rowMap(args.output, test.n, down.numRows(), kOutputBoxRows);
  const LaunchShape shape{.blocks = 4,
                          .threads = hopperThreads(plain),
                          .sharedBytes = fp8SharedBytes(plain),
                          .dynamicShared = unaligned,
                          .unwrittenRows = true};
  if (const auto failure = launch(device, shape, seed, down.kernel(output)))
    return "plain: " + failure->message;
  if (const auto failure = combineFew<config>(device, args.output, pairWeights, wanted, test, few, seed))
    return "combine: " + failure->message;

  const TensorMap map = tensorMap<TensorMap>(
      downFewFp8Tensor(addressOf(device.constant(p.weights.elements)), test.k, test.n, test.experts));
  const bool quantised = rows == Rows::Quantised;
  const void *activated = quantised ? static_cast<const void *>(device.input(p.rows.elements)) : device.input(p.tokens);
  const DownFewFp8Args fewArgs{
      {activated, got, pairWeights, nullptr, test.k, test.n, slots, few, makeRing(device, test.experts)},
      quantised ? down.args.tokenScales : nullptr,
      down.args.weightScales,
      down.args.tokenScaleStride};
  planted = plant;
  const auto failure =
      launch(device, shapeOf(fewArgs.down, TopK, Groups), seed, [&] { downFewFp8<config>(map, fewArgs); });
  planted = {};
  return failure ? failure->message : compareWith(wanted, fewArgs.down);
}

template <uint32_t TopK, uint32_t Groups = 1> void check(const GemmCase &test, uint32_t slots) {
  const Fp8Problem problem = makeFp8Problem(test, GemmRole::Down);
  for (const Rows rows : {Rows::Rounded, Rows::Quantised}) {
    CAPTURE(test.name, test.k, TopK, Groups, slots, rows == Rows::Quantised);
    forSchedules(10, [&](uint64_t seed) { return compareForms<TopK, Groups>(problem, rows, slots, seed); });
  }
}

/// Gate-up of a step in narrow tiles, and downFewFp8 on what it gives.
template <GemmConfig C> class Products {
public:
  Products() {
    gateUp.args.gemm.few = down.down.few;
    gateUp.args.gemm.output = rows;
    gateUp.args.outputScales = scales;
  }

  DeviceMemory &memory() { return device; }
  static LaunchShape gateUpShape() {
    return {.blocks = 2,
            .threads = hopperThreads(C),
            .sharedBytes = fp8SharedBytes(C),
            .dynamicShared = unaligned,
            .unwrittenRows = true};
  }
  LaunchShape downShape() const { return shapeOf(down.down, topK); }
  void runGateUp() const { groupedGemmFp8<C, SiluGate>(gateUp.weights, gateUp.tokens, activated, gateUp.args); }
  void runDown() const { downFewFp8<DownFewConfig{.element = Element::BF16, .topK = topK}>(weights, down); }
  std::string compareWith(const Products &other) const { return ::compareWith(other.output, down.down); }

private:
  static constexpr uint32_t tokens = 2, hidden = 80, intermediate = 384, columns = 32, experts = 6, topK = 4;
  static constexpr bool quantised = givesQuantised(C);

  static const Fp8Problem &problem() {
    static const Fp8Problem made = makeFp8Problem(
        {"overlapped", tokens, hidden, intermediate, experts, topK, GemmCase::Padded, true, false}, GemmRole::GateUp);
    return made;
  }
  static constexpr uint32_t elementBytes = quantised ? 1 : 2; // of what gate-up gives
  /// Floats between the scales of two blocks of its columns.
  uint32_t stride() const { return static_cast<uint32_t>(gateUp.p.rows.stride); }

  Fp8Launch<C> gateUp{problem()};
  DeviceMemory &device = gateUp.device;
  uint8_t *rows = device.output<uint8_t>(size_t{gateUp.numRows()} * intermediate * elementBytes);
  float *scales = device.output<float>(size_t{intermediate} / kFp8Block * stride());
  const CudaTensor activatedTensor =
      rowTensor(Element::BF16, addressOf(rows), intermediate / 2 * elementBytes, gateUp.numRows(), kOutputBoxRows);
  const TensorMap activated = tensorMap<TensorMap>(quantised ? inBytes(activatedTensor) : activatedTensor);
  std::mt19937_64 random{5};
  const bench::Fp8Weights drawn = bench::drawFp8Weights(experts, columns, intermediate, 0.1, random);
  const TensorMap weights = tensorMap<TensorMap>(
      downFewFp8Tensor(addressOf(device.constant(drawn.elements)), intermediate, columns, experts));
  uint16_t *output = device.output(std::vector<uint16_t>(size_t{tokens} * columns, 0x7fff));
  // Ids come from what ran before gate-up, or before quantise, behind which gate-up runs: downFewFp8 reads them before
  // gate-up is done.
  const std::vector<int32_t> ids = idsOf(problem().test);
  const int32_t *idsOnDevice = C.quantises ? device.input(ids) : device.constant(ids);
  const DownFewFp8Args down{{rows,
                             output,
                             device.constant(pairWeightsOf(problem().test)),
                             nullptr,
                             intermediate,
                             columns,
                             1,
                             {idsOnDevice, tokens, topK, experts, 0, nullptr},
                             makeRing(device, experts)},
                            quantised ? scales : nullptr,
                            device.constant(drawn.scales),
                            stride()};
};

// Rows that it gives are quantised, or it quantises the tokens' itself.
constexpr GemmConfig givesRows = fp8Config(GemmRole::GateUp, 16, 256, 128, 3, 2, 1),
                     takesTokens = quantising(fp8Config(GemmRole::GateUp, 16, 64, 256, 5, 1, 2));
static_assert(givesQuantised(givesRows) && Fp8Ring<givesRows>::beginsNext && Fp8Ring<givesRows>::leastRounds == 2);
static_assert(!givesQuantised(takesTokens) && Fp8Ring<takesTokens>::followsDispatch);

/// The fault that a bug in downFewFp8 leads to.
template <uint32_t TopK = 8, uint32_t Groups = 1> std::string faultWith(Rows rows, Plant plant) {
  static const Fp8Problem problem =
      makeFp8Problem({"padding", 2, 640, 32 * Groups, 10, TopK, GemmCase::Padded, true, false}, GemmRole::Down);
  const Caught caught =
      firstFailure({}, [&](uint64_t seed) { return compareForms<TopK, Groups>(problem, rows, 2, seed, plant); });
  INFO(caught.message);
  CHECK(caught.seed > 0);
  return textOf(caught.fault());
}

} // namespace

TEST_CASE("e4m3 down that owns a token's columns gives the bits of down and combine", "[emulation][downfew]") {
  check<4>({"padding", 2, 256, 32, 6, 4, GemmCase::Padded, true, false}, 2);
  check<4>({"padding, half of a last chunk", 2, 384, 144, 6, 4, GemmCase::Padded, true, false}, 1);
  check<8>({"one token", 1, 768, 32, 16, 8, GemmCase::Drawn, true, false}, 6);
  check<6>({"a group of two pairs", 2, 640, 32, 8, 6, GemmCase::Drawn, true, false}, 2);
  check<10>({"pairs in two rounds", 2, 512, 32, 16, 10, GemmCase::Padded, true, false}, 4);
  check<16>({"as many pairs as there are lanes", 2, 384, 16, 20, 16, GemmCase::Padded, true, false}, 3);
  check<8>({"four tokens", 4, 256, 32, 16, 8, GemmCase::Padded, true, false}, 3);
  check<8>({"more pieces than are ahead", 1, 1408, 16, 9, 8, GemmCase::Padded, true, false}, 5);
  check<8>({"a group without a pair", 2, 768, 32, 16, 8, GemmCase::FoursPadded, true, false}, 3);
  check<16>({"groups without a pair in two rounds", 2, 384, 16, 20, 16, GemmCase::FoursPadded, true, false}, 3);
  check<4>({"more pieces than two warps have ahead", 1, 2432, 16, 6, 4, GemmCase::Drawn, true, false}, 5);
  check<4>({"one block of scales", 2, 128, 32, 6, 4, GemmCase::Drawn, true, false}, 1);
  check<4>({"padding alone", 2, 128, 32, 6, 4, GemmCase::PaddingAlone, true, false}, 1);
}

TEST_CASE("e4m3 down of one to three experts a token gives the bits of down and combine", "[emulation][downfew]") {
  check<1, 4>({"one token", 1, 640, 64, 6, 1, GemmCase::Drawn, true, false}, 2);
  check<1, 4>({"four groups, padding", 4, 256, 192, 6, 1, GemmCase::Padded, true, false}, 1);
  check<1, 4>({"a chunk for each warp and more", 2, 2432, 64, 4, 1, GemmCase::Drawn, true, false}, 8);
  check<1, 2>({"two groups", 2, 384, 96, 6, 1, GemmCase::Drawn, true, false}, 1);
  check<1>({"one group", 3, 384, 48, 6, 1, GemmCase::Padded, true, false}, 2);
  check<2, 2>({"two pairs in two groups", 4, 1152, 96, 6, 2, GemmCase::Padded, true, false}, 3);
  check<2>({"two pairs", 2, 384, 16, 6, 2, GemmCase::Drawn, true, false}, 2);
  check<3>({"three pairs", 4, 640, 32, 6, 3, GemmCase::Padded, true, false}, 2);
  check<1, 4>({"padding alone", 2, 128, 64, 6, 1, GemmCase::PaddingAlone, true, false}, 1);
}

TEST_CASE("e4m3 down that owns a token's columns may begin while gate-up runs", "[emulation][downfew]") {
  for (const auto run : {runOverlapped<Products<givesRows>>, runOverlapped<Products<takesTokens>>}) {
    forSchedules(8, run);
    checkCaught({"downFewFp8 that waits for nothing", Fault::Unwritten, {Bug::NoOverlappedWait}, run, Fault::Race});
  }
}

TEST_CASE("what would let e4m3's read rows or weights too early is caught", "[emulation][downfew]") {
  constexpr uint32_t empty = kDownFewFp8MostFills; // the first barrier that says so
  for (const Rows rows : {Rows::Rounded, Rows::Quantised}) {
    CAPTURE(rows == Rows::Quantised);
    CHECK(faultWith(rows, {Bug::NoWaitForPrevious}) == textOf(Fault::Order));
    CHECK(faultWith(rows, {Bug::SkipSyncThreads, 0}) == textOf(Fault::Barrier));
    CHECK(faultWith(rows, {Bug::SkipBarrierWait, 0}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SkipBarrierWait, empty}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SkipSyncWarp}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SkipNamedBarrier, 0}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SkipNamedBarrier, 1}) == textOf(Fault::Unwritten));
    CHECK(faultWith(rows, {Bug::SkipProxyFence}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SkipRelease}) == textOf(Fault::Deadlock));
    CHECK(faultWith(rows, {Bug::BytesTooFew}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SkipWgmmaFence}) == textOf(Fault::Wgmma));
    CHECK(faultWith(rows, {Bug::SkipWgmmaWait, 0}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SkipWgmmaCommit}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::WgmmaKeepsSum}) == textOf(wrongResult));
    CHECK(faultWith(rows, {Bug::DescriptorStride}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::DescriptorAdvance}) == textOf(Fault::Race));
    CHECK(faultWith(rows, {Bug::SwizzleWrong}) == textOf(wrongResult));
  }
}

TEST_CASE("so is what would let those of one expert a token be read too early", "[emulation][downfew]") {
  constexpr uint32_t empty = kDownFewFp8MostFills;
  for (const Rows rows : {Rows::Rounded, Rows::Quantised}) {
    CAPTURE(rows == Rows::Quantised);
    CHECK(faultWith<1, 4>(rows, {Bug::NoWaitForPrevious}) == textOf(Fault::Order));
    CHECK(faultWith<1, 4>(rows, {Bug::SkipBarrierWait, 0}) == textOf(Fault::Race));
    CHECK(faultWith<1, 4>(rows, {Bug::SkipBarrierWait, empty}) == textOf(Fault::Race));
    CHECK(faultWith<1, 4>(rows, {Bug::SkipNamedBarrier, 0}) == textOf(Fault::Race));
    CHECK(faultWith<1, 4>(rows, {Bug::SkipProxyFence}) == textOf(Fault::Race));
    CHECK(faultWith<1, 4>(rows, {Bug::SkipRelease}) == textOf(Fault::Deadlock));
    CHECK(faultWith<1, 4>(rows, {Bug::SkipWgmmaWait, 0}) == textOf(Fault::Race));
  }
}
