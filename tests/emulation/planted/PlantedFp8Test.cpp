// As PlantedTest.cpp, in what the e4m3 products do not share with the fitted ones (the way of their outputs).
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/kernels/GemmFp8Fixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

// Outputs leave by boxes; down: from two stages.
constexpr GemmConfig gateUpConfig = fp8Config(GemmRole::GateUp, 32, 128, 128, 3, 2, 1),
                     downConfig = fp8Config(GemmRole::Down, 32, 256, 128, 4, 2, 1);

/// Several blocks of the scales, the last not whole, and more than one tile a block.
template <GemmConfig C> std::string run(uint64_t seed) {
  static const Fp8Problem made = makeFp8Problem({"planted", 40, 400, 264, 4, 2, GemmCase::Drawn, true, false}, C.role);
  return runFp8<C>(made, seed, 2);
}
constexpr GemmConfig rowsConfig = inRows(fp8Config(GemmRole::GateUp, 128, 128, 256, 3, 2, 1));
const auto gateUp = run<gateUpConfig>, down = run<downConfig>, rows = run<rowsConfig>;
/// Gate-up that gives its rows quantised.
std::string quantisingOutputs(uint64_t seed) {
  static const Fp8Problem made =
      makeFp8Problem({"quantising", 40, 400, 272, 4, 2, GemmCase::Drawn, true, false}, GemmRole::GateUp);
  static const bench::Fp8Rows expected = [] {
    std::vector<uint16_t> rounded;
    runFp8<inRows(fp8Config(GemmRole::GateUp, 128, 128, 128, 3, 2, 1))>(made, 1, 2, &rounded);
    return bench::quantiseRows(rounded, made.test.n, true);
  }();
  return runQuantising<inRows(fp8Config(GemmRole::GateUp, 128, 256, 128, 3, 2, 1))>(made, expected, seed, 2);
}
/// The same of few rows, whose columns all warps have; a tile for each block.
std::string wholeScales(uint64_t seed) {
  static const Fp8Problem made =
      makeFp8Problem({"whole scales", 6, 400, 272, 4, 2, GemmCase::Drawn, true, false}, GemmRole::GateUp);
  static const bench::Fp8Rows expected = [] {
    std::vector<uint16_t> rounded;
    runFp8<fp8Config(GemmRole::GateUp, 16, 64, 256, 3, 1, 2)>(made, 1, 2, &rounded);
    return bench::quantiseRows(rounded, made.test.n, true);
  }();
  return runQuantising<fp8Config(GemmRole::GateUp, 16, 256, 128, 3, 2, 1)>(made, expected, seed, 12);
}
/// Products that quantise their rows, in tiles of one to sixteen of them.
template <GemmRole Role> std::string few(uint64_t seed) {
  static const Fp8Problem made = makeFp8Problem({"few", 21, 1808, 72, 4, 2, GemmCase::Drawn, true, false}, Role);
  return runFp8<quantising(fp8Config(Role, 16, 64, 256, 5, 1, 2))>(made, seed, 2);
}
const auto fewGateUp = few<GemmRole::GateUp>, fewDown = few<GemmRole::Down>;
/// Tiles of which one warpgroup has no row.
std::string skipping(uint64_t seed) {
  static const Fp8Problem oneToken =
      makeFp8Problem({"skipping", 1, 1040, 40, 4, 2, GemmCase::Drawn, true, false}, GemmRole::Down);
  return runFp8<downConfig>(oneToken, seed, 3);
}

} // namespace

TEST_CASE("the e4m3 kernels are well without a bug", "[emulation][planted][fp8]") {
  checkWell({+gateUp, +down, +skipping, +rows, quantisingOutputs, wholeScales, +fewGateUp, +fewDown});
}

TEST_CASE("every bug planted in the e4m3 products is caught", "[emulation][planted][fp8]") {
  const PlantedBug bugs[] = {
      {"gate-up: products go on from block to block", wrongResult, {Bug::WgmmaKeepsSum}, gateUp},
      {"down: products go on from block to block", wrongResult, {Bug::WgmmaKeepsSum}, down},
      {"gate-up: the scales of the next block and row", wrongResult, {Bug::CopyFromNext}, gateUp},
      {"down: the scales of the next block and row", wrongResult, {Bug::CopyFromNext}, down},
      {"gate-up: scales to the wrong rows", Fault::Race, {Bug::CopyWrongPlace}, gateUp, Fault::Unwritten},
      {"gate-up: full wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, 0}, gateUp},
      {"down: empty wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, 4}, down},
      {"gate-up: no wgmma wait_group 0", Fault::Race, {Bug::SkipWgmmaWait, 0}, gateUp},
      {"down: no wgmma.fence", Fault::Wgmma, {Bug::SkipWgmmaFence}, down},
      {"gate-up: no wgmma.commit_group", Fault::Race, {Bug::SkipWgmmaCommit}, gateUp},
      {"gate-up: descriptor: step within a row", Fault::Race, {Bug::DescriptorAdvance}, gateUp},
      {"down: TMA: a row late", wrongResult, {Bug::TmaWrongRow}, down},
      {"gate-up: TMA: not swizzled", wrongResult, {Bug::SwizzleWrong}, gateUp},
      {"gate-up: one cp.async.mbarrier.arrive missing", Fault::Deadlock, {Bug::ArrivalsTooMany}, gateUp},
      {"gate-up: a plain arrival for cp.async's", Fault::Race, {Bug::CopyArriveEarly}, gateUp},
      {"gate-up: a stage given back while a lane reads its scales", Fault::Race, {Bug::SkipSyncWarp}, gateUp},
      {"skipping: a stage given back while a lane waits", Fault::Race, {Bug::SkipSyncWarp}, skipping},
      {"gate-up: no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, gateUp},
      {"down: nobody gives registers", Fault::Deadlock, {Bug::RegistersNeverGiven}, down},
      {"rows: products go on from block to block", wrongResult, {Bug::WgmmaKeepsSum}, rows},
      {"rows: the scales of the next block and row", wrongResult, {Bug::CopyFromNext}, rows},
      {"rows: no wgmma wait_group 0", Fault::Race, {Bug::SkipWgmmaWait, 0}, rows},
      {"rows: panels written while others read them", Fault::Race, {Bug::SkipNamedBarrier, 0}, rows},
      {"rows: no fence.proxy.async", Fault::Race, {Bug::SkipProxyFence}, rows},
      {"quantising: a row's largest of half its lanes, neighbours' halves mixed up",
       wrongResult,
       {Bug::ShuffleStep},
       quantisingOutputs},
      {"quantising: panels written while others read them", Fault::Race, {Bug::SkipNamedBarrier, 0}, quantisingOutputs},
      {"quantising: no wgmma wait_group 0", Fault::Race, {Bug::SkipWgmmaWait, 0}, quantisingOutputs},
      {"whole scales: rows quantised before all warps have rounded them",
       Fault::Race,
       {Bug::SkipNamedBarrier, 1},
       wholeScales},
      {"whole scales: a block's largest of half its lanes", wrongResult, {Bug::ShuffleStep}, wholeScales},
      {"few: no fence.proxy.async behind quantised rows", Fault::Race, {Bug::SkipProxyFence}, fewGateUp},
      {"few: a block's largest of half its lanes", wrongResult, {Bug::ShuffleStep}, fewGateUp},
      {"few: full wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, 0}, fewDown},
      {"few: empty wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, 5}, fewDown},
      {"few: one arrival at a stage missing", Fault::Deadlock, {Bug::SkipRelease}, fewDown},
      {"few: stages full before all lanes have written", Fault::Race, {Bug::ArrivalsTooFew}, fewDown},
      {"few: a stage given back while a lane reads its scales", Fault::Race, {Bug::SkipSyncWarp}, fewGateUp},
      {"few, gate-up: no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, fewGateUp},
      {"few, down: no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, fewDown},
  };
  for (const PlantedBug &bug : bugs)
    checkCaught(bug);
}
