// One defect at a time in the router's product on Hopper, through the instructions that it executes.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/routerLogits.cuh"
#include "compiler/kernels/routerLogitsSm90.cuh"
#include "tests/emulation/kernels/RouterFixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

// Six and eight stages, and more of the sum than they hold.
constexpr RouterGemmConfig wideConfig{Element::BF16, 128, 128, true};
constexpr RouterGemmConfig narrowConfig{Element::BF16, 64, 64, true};
constexpr uint32_t wideStages = routerStages(wideConfig);

std::string wide(uint64_t seed) {
  static const RouterProblem made = makeRouterProblem({"wide", 20, 35, 1032, 1, true, true}, Element::BF16);
  return runRouter<wideConfig>(made, seed, 1);
}
/// Two tiles a block.
std::string narrow(uint64_t seed) {
  static const RouterProblem made = makeRouterProblem({"narrow", 100, 35, 520, 1, true, true}, Element::BF16);
  return runRouter<narrowConfig>(made, seed, 1);
}

} // namespace

TEST_CASE("the router's planted kernels are well without a bug", "[emulation][planted]") { checkWell({wide, narrow}); }

TEST_CASE("every bug planted in the router's product is caught", "[emulation][planted]") {
  const PlantedBug bugs[] = {
      {"full wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, 0}, wide, Fault::Unwritten},
      {"empty wait of stage 0 skipped", Fault::Race, {Bug::SkipBarrierWait, wideStages}, wide},
      {"empty wait of the last stage skipped", Fault::Race, {Bug::SkipBarrierWait, 2 * wideStages - 1}, wide},
      {"wrong parity", Fault::Unwritten, {Bug::WrongParity}, wide, Fault::Race},
      {"one arrival too many expected", Fault::Deadlock, {Bug::ArrivalsTooMany}, narrow},
      {"one arrival too few expected", Fault::Race, {Bug::ArrivalsTooFew}, narrow},
      {"no fence.proxy.async", Fault::Race, {Bug::SkipProxyFence}, wide},
      {"one cp.async.mbarrier.arrive missing", Fault::Deadlock, {Bug::SkipCopyArrive}, narrow},
      {"a plain arrival for cp.async's", Fault::Race, {Bug::CopyArriveEarly}, narrow},
      {"cp.async reads what lies behind", wrongResult, {Bug::CopyFromNext}, narrow},
      {"wgmma wait_group 1 is 2", Fault::Race, {Bug::WgmmaWaitWeak, 1}, wide},
      {"wgmma wait_group 0 is 1", Fault::Race, {Bug::WgmmaWaitWeak, 0}, wide},
      {"no wgmma wait_group 0", Fault::Race, {Bug::SkipWgmmaWait, 0}, narrow},
      {"no wgmma wait_group 1", Fault::Race, {Bug::SkipWgmmaWait, 1}, narrow},
      {"no wgmma.fence", Fault::Wgmma, {Bug::SkipWgmmaFence}, wide},
      {"no wgmma.commit_group", Fault::Race, {Bug::SkipWgmmaCommit}, wide},
      {"a share's sum does not start anew", wrongResult, {Bug::WgmmaKeepsSum}, wide},
      {"a stage is not released", Fault::Deadlock, {Bug::SkipRelease}, narrow},
      {"a stage is released twice", Fault::Race, {Bug::DoubleRelease}, wide, Fault::Barrier},
      {"descriptor: stride of eight rows", Fault::Race, {Bug::DescriptorStride}, narrow},
      {"descriptor: no swizzle", Fault::Wgmma, {Bug::DescriptorNoSwizzle}, narrow},
      {"descriptor: step within a row", Fault::Race, {Bug::DescriptorAdvance}, narrow},
      {"no griddepcontrol.wait", Fault::Order, {Bug::NoWaitForPrevious}, narrow},
      {"barriers used before they are there", Fault::Barrier, {Bug::SkipSyncThreads, 0}, wide},
  };
  for (const PlantedBug &bug : bugs)
    checkCaught(bug);
}
