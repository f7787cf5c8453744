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

LaunchShape shapeOf(const DownFewArgs &args, uint32_t topK) {
  return {.blocks = downFewBlocks(args.few.numTokens, args.n),
          .threads = kDownFewThreads,
          .sharedBytes = downFewFp8SharedBytes(topK, args.k, args.slots),
          .dynamicShared = unaligned,
          .unwrittenRows = true}; // of pairs that have no expert
}

/// downFewFp8 with so many slots against down and combine. `plant`: in downFewFp8 alone.
template <uint32_t TopK>
std::string compareForms(const Fp8Problem &p, Rows rows, uint32_t slots, uint64_t seed, Plant plant = {}) {
  static constexpr GemmConfig plain = fp8Config(GemmRole::Down, 16, 64, 256, 3, 1, 2);
  static constexpr DownFewConfig config{.element = Element::BF16, .topK = TopK};
  const GemmCase &test = p.test;
  if (test.topK != TopK || !downIsFewFp8(test.tokens, TopK, test.k, test.n))
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
  const auto failure = launch(device, shapeOf(fewArgs.down, TopK), seed, [&] { downFewFp8<config>(map, fewArgs); });
  planted = {};
  return failure ? failure->message : compareWith(wanted, fewArgs.down);
}

template <uint32_t TopK> void check(const GemmCase &test, uint32_t slots) {
  const Fp8Problem problem = makeFp8Problem(test, GemmRole::Down);
  for (const Rows rows : {Rows::Rounded, Rows::Quantised}) {
    CAPTURE(test.name, test.k, TopK, slots, rows == Rows::Quantised);
    forSchedules(10, [&](uint64_t seed) { return compareForms<TopK>(problem, rows, slots, seed); });
  }
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
  check<4>({"padding alone", 2, 128, 32, 6, 4, GemmCase::PaddingAlone, true, false}, 1);
}
