// One defect at a time in real kernels, through the instructions that they execute.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/combine.cuh"
#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/groupedGemmFitted.cuh"
#include "compiler/kernels/groupedGemmPortable.cuh"
#include "compiler/kernels/groupedGemmSm90.cuh"
#include "compiler/kernels/route.cuh"
#include "tests/emulation/kernels/DispatchFixture.h"
#include "tests/emulation/kernels/GemmFittedFixture.h"
#include "tests/emulation/kernels/GemmPortableFixture.h"
#include "tests/emulation/kernels/GemmSm90Fixture.h"
#include "tests/emulation/kernels/RouteFixture.h"
#include "tests/emulation/planted/Caught.h"

#include <set>

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
// Outputs leave by boxes, from one stage (gate-up) or two (down).
constexpr GemmConfig fittedGateUpConfig = fittedConfig(Element::BF16, GemmRole::GateUp, 32, 128, 64, 3, 2, 1),
                     fittedDownConfig = fittedConfig(Element::BF16, GemmRole::Down, 32, 128, 64, 4, 2, 1);
constexpr GemmConfig pairedGateUpConfig = inPairs(fittedGateUpConfig), pairedDownConfig = inPairs(fittedDownConfig);
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
std::string fittedGateUp(uint64_t seed) {
  static const GemmProblem made =
      makeProblem({"planted", 40, 264, 136, 4, 2, GemmCase::Drawn, true, false}, GemmRole::GateUp, Element::BF16);
  return runFitted<fittedGateUpConfig>(made, seed, 2);
}
std::string fittedDown(uint64_t seed) {
  static const GemmProblem made =
      makeProblem({"planted", 40, 264, 264, 4, 2, GemmCase::Drawn, false, false}, GemmRole::Down, Element::BF16);
  return runFitted<fittedDownConfig>(made, seed, 2);
}
std::string pairedGateUp(uint64_t seed) {
  static const GemmProblem made =
      makeProblem({"planted", 40, 264, 136, 4, 2, GemmCase::Drawn, true, false}, GemmRole::GateUp, Element::BF16);
  return runFitted<pairedGateUpConfig>(made, seed, 2);
}
std::string pairedDown(uint64_t seed) {
  static const GemmProblem made =
      makeProblem({"planted", 40, 264, 264, 4, 2, GemmCase::Drawn, false, false}, GemmRole::Down, Element::BF16);
  return runFitted<pairedDownConfig>(made, seed, 2);
}
std::string portable(uint64_t seed) { return runPortable<portableConfig>(problem(), seed); }
std::string oneBlock(uint64_t seed) {
  return runDispatch<dispatchConfig>(dispatchCases(8)[1], DispatchForm::OneBlock, seed);
}
std::string byCluster(uint64_t seed) {
  return runDispatch<dispatchConfig>(dispatchCases(8)[1], DispatchForm::Cluster, seed);
}
std::string routing(uint64_t seed) { return runRoute<routeConfig>(9, seed); }

} // namespace

TEST_CASE("the planted kernels are well without a bug", "[emulation][planted]") {
  checkWell({swapped, plain, trading, skipping, fittedGateUp, fittedDown, pairedGateUp, pairedDown, portable, oneBlock,
             byCluster, routing});
}

TEST_CASE("every planted bug is caught", "[emulation][planted]") {
  const PlantedBug bugs[] = {
      {"full wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, 0}, swapped, Fault::Unwritten},
      {"full wait of stage 1 skipped", Fault::Race, {Bug::SkipBarrierWait, 1}, plain},
      {"empty wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, 2}, swapped},
      {"empty wait of stage 1 skipped", Fault::Race, {Bug::SkipBarrierWait, 3}, plain},
      {"wrong parity", Fault::Unwritten, {Bug::WrongParity}, swapped},
      {"no fence.mbarrier_init", Fault::Barrier, {Bug::SkipBarrierInitFence}, swapped},
      {"one arrival too many expected", Fault::Deadlock, {Bug::ArrivalsTooMany}, swapped},
      {"one arrival too few expected", Fault::Race, {Bug::ArrivalsTooFew}, swapped},
      {"no fence.proxy.async, swapped", Fault::Race, {Bug::SkipProxyFence}, swapped},
      {"no fence.proxy.async, plain", Fault::Race, {Bug::SkipProxyFence}, plain},
      {"expect_tx of half the bytes", Fault::Deadlock, {Bug::BytesTooFew}, swapped},
      {"expect_tx of too many bytes", Fault::Deadlock, {Bug::BytesTooMany}, swapped},
      {"no expect_tx", Fault::Deadlock, {Bug::BytesNotExpected}, swapped},
      {"cp.async.wait_group off by one", Fault::Race, {Bug::CopyGroupOffByOne}, portable},
      {"no cp.async.commit_group", Fault::Race, {Bug::SkipCopyCommit}, portable},
      {"one cp.async.mbarrier.arrive missing", Fault::Deadlock, {Bug::SkipCopyArrive}, swapped},
      {"a plain arrival for cp.async's", Fault::Race, {Bug::CopyArriveEarly}, swapped},
      {"cp.async to the next 16 bytes", wrongResult, {Bug::CopyWrongPlace}, swapped},
      {"cp.async reads what is not valid", wrongResult, {Bug::CopyInvalid}, portable},
      {"no __syncwarp", Fault::Race, {Bug::SkipSyncWarp}, oneBlock},
      {"a stage given back while a lane waits", Fault::Deadlock, {Bug::SkipSyncWarp}, skipping},
      {"wgmma wait_group 1 is 2", Fault::Race, {Bug::WgmmaWaitWeak, 1}, swapped},
      {"wgmma wait_group 0 is 1", Fault::Race, {Bug::WgmmaWaitWeak, 0}, plain},
      {"no wgmma wait_group 0", Fault::Race, {Bug::SkipWgmmaWait, 0}, swapped},
      {"no wgmma wait_group 1", Fault::Race, {Bug::SkipWgmmaWait, 1}, plain},
      {"no wgmma.fence", Fault::Wgmma, {Bug::SkipWgmmaFence}, swapped},
      {"no wgmma.commit_group", Fault::Race, {Bug::SkipWgmmaCommit}, swapped},
      {"a stage is not released", Fault::Deadlock, {Bug::SkipRelease}, swapped},
      {"a stage is released twice", Fault::Race, {Bug::DoubleRelease}, swapped},
      {"descriptor: stride of eight rows", Fault::Race, {Bug::DescriptorStride}, swapped},
      {"descriptor: no swizzle", Fault::Wgmma, {Bug::DescriptorNoSwizzle}, swapped},
      {"descriptor: step within a row", Fault::Race, {Bug::DescriptorAdvance}, plain},
      {"TMA: a row late", wrongResult, {Bug::TmaWrongRow}, swapped},
      {"TMA: wrong place", Fault::Race, {Bug::TmaWrongPlace}, swapped},
      {"TMA: not swizzled", wrongResult, {Bug::SwizzleWrong}, swapped},
      {"ldmatrix: wrong rows", wrongResult, {Bug::FragmentRow}, portable},
      {"movmatrix: not transposed", wrongResult, {Bug::FragmentTranspose}, swapped},
      {"mma.sync: operands the wrong way round", wrongResult, {Bug::MmaOperandOrder}, portable},
      {"a lane missing in shuffles", Fault::Collective, {Bug::LostLane}, routing},
      {"shuffles from the wrong lane", wrongResult, {Bug::ShuffleStep}, plain},
      {"reductions over half the lanes", wrongResult, {Bug::ReduceMask}, routing},
      {"no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, portable},
      {"setmaxnreg: one warp differs", Fault::Collective, {Bug::UnevenRegisters}, trading},
      {"setmaxnreg: nobody gives", Fault::Deadlock, {Bug::RegistersNeverGiven}, trading},
      {"fitted gate-up: panels written while others read them", Fault::Race, {Bug::SkipNamedBarrier, 0}, fittedGateUp},
      {"fitted down: panels written while others read them", Fault::Race, {Bug::SkipNamedBarrier, 0}, fittedDown},
      {"fitted gate-up: panels leave before all is in them", Fault::Race, {Bug::SkipNamedBarrier, 1}, fittedGateUp},
      {"fitted down: panels leave before all is in them", Fault::Race, {Bug::SkipNamedBarrier, 1}, fittedDown},
      {"fitted gate-up: stages given back while they leave", Fault::Race, {Bug::SkipBulkWaitRead}, fittedGateUp},
      {"fitted down: stages given back while they leave", Fault::Race, {Bug::SkipBulkWaitRead}, fittedDown},
      {"fitted gate-up: no bulk commit_group", Fault::Race, {Bug::SkipBulkCommit}, fittedGateUp},
      {"fitted down: no bulk commit_group", Fault::Race, {Bug::SkipBulkCommit}, fittedDown},
      {"fitted gate-up: the block ends before its stores", Fault::Copy, {Bug::SkipBulkWait}, fittedGateUp},
      {"fitted down: the block ends before its stores", Fault::Copy, {Bug::SkipBulkWait}, fittedDown},
      {"fitted gate-up: no fence.proxy.async", Fault::Race, {Bug::SkipProxyFence}, fittedGateUp},
      {"fitted down: no fence.proxy.async", Fault::Race, {Bug::SkipProxyFence}, fittedDown},
      {"fitted gate-up: a tile given back while a lane reads it", Fault::Race, {Bug::SkipSyncWarp}, fittedGateUp},
      {"fitted down: a tile given back while a lane reads it",
       Fault::Race,
       {Bug::SkipSyncWarp},
       fittedDown,
       Fault::Deadlock},
      {"fitted gate-up: nothing is given back", Fault::Deadlock, {Bug::SkipRelease}, fittedGateUp},
      {"fitted down: nothing is given back", Fault::Deadlock, {Bug::SkipRelease}, fittedDown},
      {"fitted gate-up: no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, fittedGateUp},
      {"fitted down: no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, fittedDown},
      {"fitted down: bytes of the token boxes not expected", Fault::Deadlock, {Bug::BytesTooFew}, fittedDown},
      {"fitted down: a row late", wrongResult, {Bug::TmaWrongRow}, fittedDown},
      // The queue's barriers: "full" twice, "empty" twice.
      {"fitted gate-up: a tile taken before it is there",
       Fault::Unwritten,
       {Bug::SkipLaterWait, 0},
       fittedGateUp,
       Fault::Race},
      {"fitted down: a tile taken before it is there",
       Fault::Unwritten,
       {Bug::SkipLaterWait, 0},
       fittedDown,
       Fault::Race},
      {"fitted gate-up: a tile put where one is", Fault::Race, {Bug::SkipLaterWait, 2}, fittedGateUp},
      {"pairs: no cluster barrier at the begin", Fault::Barrier, {Bug::SkipClusterBarrier, 0}, pairedGateUp},
      {"pairs: no cluster barrier at the end", Fault::OutOfBounds, {Bug::SkipClusterBarrier, 1}, pairedGateUp},
      {"pairs: the cluster barrier at the end is relaxed",
       Fault::OutOfBounds,
       {Bug::RelaxedClusterBarrier},
       pairedGateUp},
      {"pairs: stages are not given back to the other block", Fault::Deadlock, {Bug::SkipRemoteArrive}, pairedGateUp},
      {"pairs: stages are given back twice to the own block",
       Fault::Race,
       {Bug::ArriveAtOwn},
       pairedDown,
       Fault::Barrier},
      {"pairs: a row comes to one block alone", Fault::Deadlock, {Bug::MulticastToOne}, pairedGateUp},
      {"pairs: a box comes to one block alone", Fault::Deadlock, {Bug::MulticastToOne}, pairedDown},
      {"pairs: a row late", wrongResult, {Bug::TmaWrongRow}, pairedGateUp},
      {"pairs: empty wait skipped", Fault::Race, {Bug::SkipBarrierWait, 3}, pairedGateUp},
      {"dispatch by a cluster: counts for a block that has not started",
       Fault::OutOfBounds,
       {Bug::SkipClusterBarrier, 0},
       byCluster},
      {"dispatch by a cluster: counts are read before they are there",
       Fault::Unwritten,
       {Bug::SkipClusterBarrier, 1},
       byCluster,
       Fault::Race},
      {"dispatch by a cluster: ids are read too early", Fault::Order, {Bug::NoWaitForPrevious}, byCluster},
      {"dispatch by a cluster: nothing orders the counts", Fault::Race, {Bug::RelaxedClusterBarrier}, byCluster},
  };
  for (const PlantedBug &bug : bugs)
    checkCaught(bug);
}

TEST_CASE("a deadlock and what waits in it are reproduced from the seed", "[emulation][planted]") {
  std::set<std::string> messages;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    planted = {Bug::SkipRelease};
    const std::string message = swapped(seed), again = swapped(seed);
    planted = {};
    CHECK(faultOf(message) == Fault::Deadlock);
    CHECK(message.find("mbarrier") != std::string::npos);
    CHECK(message == again);
    messages.insert(message);
  }
  CHECK(messages.size() > 1); // and other seeds run other schedules
}

/// Leaves out one __syncthreads after the other.
static void leaveOutSyncs(uint32_t number, std::string (*kernel)(uint64_t seed), Fault fault, Fault orElse) {
  for (uint32_t i = 0; i < number; ++i) {
    const Caught caught = firstFailure({Bug::SkipSyncThreads, i}, kernel);
    INFO("__syncthreads " << i << ": " << caught.message);
    CHECK(caught.seed != 0);
    CHECK((caught.fault() == fault || caught.fault() == orElse));
    if (std::getenv("MOEC_EMULATION_VERBOSE"))
      fmt::print("__syncthreads {:26} seed {:2}: {}\n", i, caught.seed, caught.message.substr(0, 150));
  }
}

TEST_CASE("every __syncthreads is needed, and its absence is caught", "[emulation][planted]") {
  leaveOutSyncs(4, oneBlock, Fault::Race, Fault::Unwritten);  // counters cleared; counted; summed; tables written
  leaveOutSyncs(3, byCluster, Fault::Race, Fault::Unwritten); // counted; blocks summed; first slots written
  leaveOutSyncs(6, portable, Fault::Race, Fault::Race);       // a stage has arrived: five steps; the next tile
  leaveOutSyncs(1, swapped, Fault::Barrier, Fault::Barrier);  // barriers are initialised
}
