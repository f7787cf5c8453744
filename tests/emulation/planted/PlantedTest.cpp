// One defect at a time in real kernels, through the instructions that they execute.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/groupedGemmPortable.cuh"
#include "compiler/kernels/groupedGemmSm90.cuh"
#include "compiler/kernels/route.cuh"
#include "tests/emulation/kernels/DispatchFixture.h"
#include "tests/emulation/kernels/GemmPortableFixture.h"
#include "tests/emulation/kernels/GemmSm90Fixture.h"
#include "tests/emulation/kernels/RouteFixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr GemmConfig sm90(uint32_t tokens, uint32_t weights, uint32_t stages, uint32_t groups, bool swapAB) {
  return {.element = Element::BF16,
          .role = GemmRole::GateUp,
          .tileTokens = tokens,
          .tileWeights = weights,
          .tileK = 64,
          .stages = stages,
          .warpsTokens = groups,
          .warpsWeights = 1,
          .swapAB = swapAB,
          .blocksPerSm = 1,
          .dense = false};
}
constexpr GemmConfig swappedConfig = sm90(16, 128, 2, 1, true), plainConfig = sm90(64, 64, 2, 1, false),
                     tradingConfig = sm90(32, 256, 2, 2, true), twoGroupsConfig = sm90(128, 64, 2, 2, false);
constexpr GemmConfig portableConfig{.element = Element::BF16,
                                    .role = GemmRole::GateUp,
                                    .tileTokens = 16,
                                    .tileWeights = 64,
                                    .tileK = 64,
                                    .stages = 3,
                                    .warpsTokens = 1,
                                    .warpsWeights = 2,
                                    .swapAB = false,
                                    .blocksPerSm = 2,
                                    .dense = false};
constexpr DispatchConfig dispatchConfig{.experts = 8, .threads = 128, .pairsPerBlock = 64};
constexpr RouteConfig routeConfig{.experts = 40,
                                  .topK = 4,
                                  .before = RouteScoring::Softmax,
                                  .after = RouteScoring::None,
                                  .correctionBias = false,
                                  .renormalise = true,
                                  .groups = 1,
                                  .groupsPicked = 1,
                                  .groupTop = 1,
                                  .threads = 64};

/// Several steps of the sum, the last not whole, and more than one tile a block.
const GemmProblem &problem() {
  static const GemmProblem made =
      makeProblem({"planted", 40, 264, 136, 4, 2, GemmCase::Drawn, false, false}, GemmRole::GateUp, Element::BF16);
  return made;
}

std::string swapped(uint64_t seed) { return runSm90<swappedConfig>(problem(), seed, 2); }
std::string plain(uint64_t seed) { return runSm90<plainConfig>(problem(), seed, 2); }
std::string trading(uint64_t seed) { return runSm90<tradingConfig>(problem(), seed, 2); }
/// Tiles of which one warpgroup has no row.
std::string skipping(uint64_t seed) {
  static const GemmProblem oneToken = makeProblem(gemmCases()[0], GemmRole::GateUp, Element::BF16);
  return runSm90<twoGroupsConfig>(oneToken, seed, 3);
}
std::string portable(uint64_t seed) { return runPortable<portableConfig>(problem(), seed); }
std::string oneBlock(uint64_t seed) { return runDispatch<dispatchConfig>(dispatchCases(8)[1], false, seed); }
std::string routing(uint64_t seed) { return runRoute<routeConfig>(9, seed); }

struct PlantedBug {
  const char *name;
  Plant plant;
  std::string (*kernel)(uint64_t seed);
};

} // namespace

TEST_CASE("the planted kernels are well without a bug", "[emulation][planted]") {
  for (const auto kernel : {swapped, plain, trading, skipping, portable, oneBlock, routing})
    for (uint64_t seed = 1; seed <= 5; ++seed)
      CHECK(kernel(seed) == "");
}

TEST_CASE("every planted bug is caught", "[emulation][planted]") {
  const PlantedBug bugs[] = {
      {"full wait of stage 0 skipped", {Bug::SkipBarrierWait, 0}, swapped},
      {"full wait of stage 1 skipped", {Bug::SkipBarrierWait, 1}, plain},
      {"empty wait of stage 0 skipped", {Bug::SkipBarrierWait, 2}, swapped},
      {"empty wait of stage 1 skipped", {Bug::SkipBarrierWait, 3}, plain},
      {"wrong parity", {Bug::WrongParity}, swapped},
      {"no fence.mbarrier_init", {Bug::SkipBarrierInitFence}, swapped},
      {"one arrival too many expected", {Bug::ArrivalsTooMany}, swapped},
      {"one arrival too few expected", {Bug::ArrivalsTooFew}, swapped},
      {"no fence.proxy.async, swapped", {Bug::SkipProxyFence}, swapped},
      {"no fence.proxy.async, plain", {Bug::SkipProxyFence}, plain},
      {"expect_tx of half the bytes", {Bug::BytesTooFew}, swapped},
      {"expect_tx of too many bytes", {Bug::BytesTooMany}, swapped},
      {"no expect_tx", {Bug::BytesNotExpected}, swapped},
      {"cp.async.wait_group off by one", {Bug::CopyGroupOffByOne}, portable},
      {"no cp.async.commit_group", {Bug::SkipCopyCommit}, portable},
      {"one cp.async.mbarrier.arrive missing", {Bug::SkipCopyArrive}, swapped},
      {"a plain arrival for cp.async's", {Bug::CopyArriveEarly}, swapped},
      {"cp.async to the next 16 bytes", {Bug::CopyWrongPlace}, swapped},
      {"cp.async reads what is not valid", {Bug::CopyInvalid}, portable},
      {"no __syncwarp", {Bug::SkipSyncWarp}, oneBlock},
      {"a stage given back while a lane waits", {Bug::SkipSyncWarp}, skipping},
      {"wgmma wait_group 1 is 2", {Bug::WgmmaWaitWeak, 1}, swapped},
      {"wgmma wait_group 0 is 1", {Bug::WgmmaWaitWeak, 0}, plain},
      {"no wgmma wait_group 0", {Bug::SkipWgmmaWait, 0}, swapped},
      {"no wgmma wait_group 1", {Bug::SkipWgmmaWait, 1}, plain},
      {"no wgmma.fence", {Bug::SkipWgmmaFence}, swapped},
      {"no wgmma.commit_group", {Bug::SkipWgmmaCommit}, swapped},
      {"a stage is not released", {Bug::SkipRelease}, swapped},
      {"a stage is released twice", {Bug::DoubleRelease}, swapped},
      {"descriptor: stride of eight rows", {Bug::DescriptorStride}, swapped},
      {"descriptor: no swizzle", {Bug::DescriptorNoSwizzle}, swapped},
      {"descriptor: step within a row", {Bug::DescriptorAdvance}, plain},
      {"TMA: a row late", {Bug::TmaWrongRow}, swapped},
      {"TMA: wrong place", {Bug::TmaWrongPlace}, swapped},
      {"TMA: not swizzled", {Bug::SwizzleWrong}, swapped},
      {"ldmatrix: wrong rows", {Bug::FragmentRow}, portable},
      {"movmatrix: not transposed", {Bug::FragmentTranspose}, swapped},
      {"mma.sync: operands the wrong way round", {Bug::MmaOperandOrder}, portable},
      {"a lane missing in shuffles", {Bug::LostLane}, routing},
      {"shuffles from the wrong lane", {Bug::ShuffleStep}, plain},
      {"reductions over half the lanes", {Bug::ReduceMask}, routing},
      {"no griddepcontrol.wait", {Bug::NoWaitForPrevious}, portable},
      {"setmaxnreg: one warp differs", {Bug::UnevenRegisters}, trading},
      {"setmaxnreg: nobody gives", {Bug::RegistersNeverGiven}, trading},
  };
  for (const PlantedBug &bug : bugs) {
    const Caught caught = firstFailure(bug.plant, bug.kernel);
    INFO(bug.name);
    CHECK(caught.seed != 0);
    if (std::getenv("MOEC_EMULATION_VERBOSE"))
      fmt::print("{:40} seed {:2}: {}\n", bug.name, caught.seed, caught.message.substr(0, 150));
  }
}

/// Leaves out one __syncthreads after the other.
static void leaveOutSyncs(uint32_t number, std::string (*kernel)(uint64_t seed)) {
  for (uint32_t i = 0; i < number; ++i) {
    INFO("__syncthreads " << i);
    const Caught caught = firstFailure({Bug::SkipSyncThreads, i}, kernel);
    CHECK(caught.seed != 0);
    if (std::getenv("MOEC_EMULATION_VERBOSE"))
      fmt::print("__syncthreads {:26} seed {:2}: {}\n", i, caught.seed, caught.message.substr(0, 150));
  }
}

TEST_CASE("every __syncthreads is needed, and its absence is caught", "[emulation][planted]") {
  leaveOutSyncs(4, oneBlock); // counters cleared; counted; summed; tables written
  leaveOutSyncs(6, portable); // a stage has arrived: five steps; the next tile
  leaveOutSyncs(1, swapped);  // barriers are initialised
}
