#include "ir/Moe.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

namespace moec::passes {
#define GEN_PASS_DEF_VERIFYPHASE
#include "passes/Passes.h.inc"
} // namespace moec::passes

using namespace mlir;
using namespace moec::moe;
using moec::passes::Phase;

namespace {

LogicalResult verifySignature(func::FuncOp layer) {
  FunctionType type = layer.getFunctionType();
  auto isTokens = [](Type candidate) {
    auto tensor = dyn_cast<RankedTensorType>(candidate);
    return tensor && tensor.getRank() == 2 && tensor.isDynamicDim(0) && !tensor.isDynamicDim(1);
  };
  if (layer.isDeclaration() || type.getNumInputs() != 1 || !isTokens(type.getInput(0)) || type.getNumResults() < 1 ||
      type.getResult(0) != type.getInput(0))
    return layer.emitError("a layer takes hidden states [?, H] and returns the same type first, but its type is ")
           << type;
  if (!layer.getBody().hasOneBlock())
    return layer.emitError("a layer has one block");
  if (!layer->getAttrOfType<IntegerAttr>(kLayerAttr))
    return layer.emitError("a layer has its number in moe.layer");
  return success();
}

bool isAllowed(Operation &op, Phase phase) {
  if (isa<func::ReturnOp, WeightOp>(op))
    return true;
  if (phase == Phase::Launches)
    return isa<LaunchOp>(op);
  if (phase == Phase::Input)
    return isa_and_nonnull<MoeDialect>(op.getDialect()) && !isa<LaunchOp>(op);
  return isa<RouteOp, SharedFfnOp, GroupedFfnOp>(op);
}

LogicalResult verifyChoices(GroupedFfnOp grouped, Phase phase) {
  if (phase >= Phase::Sized && !grouped.getSlots())
    return grouped.emitError("has no slots after phase sized");
  if (phase >= Phase::Selected && (!grouped.getConfig() || !grouped.getPacked() || !grouped.getOrder()))
    return grouped.emitError("has no config, packed or order after phase selected");
  if (phase >= Phase::Planned && (!grouped.getHiddenStride() || !grouped.getIntermediateStride()))
    return grouped.emitError("has no strides after phase planned");
  return success();
}

LogicalResult verifyLayer(func::FuncOp layer, Phase phase) {
  if (failed(verifySignature(layer)))
    return failure();
  for (Operation &op : layer.getBody().front()) {
    if (auto dispatch = dyn_cast<DispatchOp>(op); dispatch && phase != Phase::Input && dispatch.getCapacity())
      return op.emitError("has a capacity: dropping pairs is not supported beyond phase input yet");
    if (!isAllowed(op, phase))
      return op.emitError("'") << op.getName() << "' is not allowed after phase " << moec::passes::phaseName(phase);
    if (auto grouped = dyn_cast<GroupedFfnOp>(op))
      if (failed(verifyChoices(grouped, phase)))
        return failure();
  }
  return success();
}

struct VerifyPhase : moec::passes::impl::VerifyPhaseBase<VerifyPhase> {
  using VerifyPhaseBase::VerifyPhaseBase;

  void runOnOperation() override {
    std::optional<Phase> wanted = moec::passes::parsePhase(phase);
    if (!wanted) {
      getOperation().emitError("unknown phase '") << phase.getValue() << "'";
      return signalPassFailure();
    }
    llvm::SmallDenseSet<int64_t> numbers;
    for (Operation &op : getOperation().getOps()) {
      auto layer = dyn_cast<func::FuncOp>(op);
      if (!layer) {
        op.emitError("a model holds functions only, one a layer");
        return signalPassFailure();
      }
      if (failed(verifyLayer(layer, *wanted)))
        return signalPassFailure();
      int64_t number = layer->getAttrOfType<IntegerAttr>(kLayerAttr).getInt();
      if (!numbers.insert(number).second) {
        layer.emitError("layer number ") << number << " is taken twice";
        return signalPassFailure();
      }
    }
    getOperation()->setAttr(kPhaseAttr, StringAttr::get(&getContext(), phase));
  }
};

} // namespace
