#include "ir/Moe.h"
#include "passes/Passes.h"

#include "mlir/IR/Builders.h"

namespace moec::passes {
#define GEN_PASS_DEF_FUSEEXPERTS
#include "passes/Passes.h.inc"
} // namespace moec::passes

using namespace mlir;
using namespace moec::moe;

namespace {

/// What feeds a combine, if it is one expert group that can be fused.
struct ExpertGroup {
  DispatchOp dispatch;
  ExpertFfnOp ffn;
  CombineOp combine;
};

std::optional<ExpertGroup> findGroup(CombineOp combine) {
  ExpertGroup group;
  group.combine = combine;
  group.ffn = combine.getExpertOutput().getDefiningOp<ExpertFfnOp>();
  if (!group.ffn || !combine.getExpertOutput().hasOneUse())
    return std::nullopt;
  group.dispatch = group.ffn.getBuffer().getDefiningOp<DispatchOp>();
  bool sameRouting = group.dispatch && group.dispatch.getIds() == combine.getIds() &&
                     group.dispatch.getSlot() == combine.getSlot() && group.dispatch.getBuffer().hasOneUse() &&
                     group.dispatch.getSlot().hasOneUse();
  if (!sameRouting || group.dispatch.getCapacity())
    return std::nullopt;
  // Each pair's weight counts once: on what its expert takes in or on what it gives.
  if (group.dispatch.getWeightOnInput() == static_cast<bool>(combine.getWeights()))
    return std::nullopt;
  return group;
}

/// Counts of as many experts, whose users all come after the group, are the group's own second result.
void replaceCounts(CountPairsOp counts, GroupedFfnOp grouped) {
  if (counts.getCounts().getType() != grouped.getCounts().getType())
    return;
  if (llvm::any_of(counts.getCounts().getUsers(), [&](Operation *user) { return user->isBeforeInBlock(grouped); }))
    return;
  counts.getCounts().replaceAllUsesWith(grouped.getCounts());
  counts.erase();
}

void fuse(ExpertGroup &group) {
  OpBuilder builder(group.combine);
  Value ids = group.combine.getIds();
  const bool onInput = group.dispatch.getWeightOnInput();
  int64_t experts = cast<RankedTensorType>(group.ffn.getGate().getType()).getDimSize(0);
  auto countsType = RankedTensorType::get({experts}, builder.getI32Type());
  auto grouped = GroupedFfnOp::create(
      builder, group.combine.getLoc(), group.combine.getOutput().getType(), countsType, group.dispatch.getTokens(), ids,
      onInput ? group.dispatch.getWeights() : group.combine.getWeights(), group.ffn.getGate(), group.ffn.getUp(),
      group.ffn.getDown(), group.ffn.getGateBias(), group.ffn.getUpBias(), group.ffn.getDownBias(),
      group.combine.getInit(), group.dispatch.getSlotsAttr(), Attribute(), DenseI8ArrayAttr(), DenseI16ArrayAttr(),
      IntegerAttr(), IntegerAttr(), onInput);
  grouped.getActivation().takeBody(group.ffn.getActivation());
  group.combine.getOutput().replaceAllUsesWith(grouped.getOutput());
  group.combine.erase();
  group.ffn.erase();
  group.dispatch.erase();
  for (Operation *user : llvm::make_early_inc_range(ids.getUsers()))
    if (auto counts = dyn_cast<CountPairsOp>(user))
      replaceCounts(counts, grouped);
}

struct FuseExperts : moec::passes::impl::FuseExpertsBase<FuseExperts> {
  void runOnOperation() override {
    SmallVector<CombineOp> combines(getOperation().getOps<CombineOp>());
    for (CombineOp combine : combines)
      if (std::optional<ExpertGroup> group = findGroup(combine)) {
        fuse(*group);
        ++numFused;
      }
  }
};

} // namespace
