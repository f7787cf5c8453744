#include "compiler/core/JoinedShared.h"
#include "passes/Passes.h"
#include "passes/PlanFromIr.h"

#include "mlir/IR/Builders.h"

namespace moec::passes {
#define GEN_PASS_DEF_LOWERTOLAUNCHES
#include "passes/Passes.h.inc"
} // namespace moec::passes

using namespace mlir;
using namespace moec;
using namespace moec::moe;

namespace {

int64_t dim(Value value, unsigned index) { return cast<RankedTensorType>(value.getType()).getDimSize(index); }

/// Emits launches where the builder stands.
struct LaunchBuilder {
  OpBuilder &builder;
  Location loc;
  Attribute config;

  /// A launch that the runtime does itself.
  LaunchOp step(moe::LaunchKind kind, TypeRange results, ValueRange inputs, DictionaryAttr spec = {}) {
    return LaunchOp::create(builder, loc, results, kind, inputs, IntegerAttr(), IntegerAttr(), Attribute(), spec);
  }

  /// A GEMM over `k` with so many output columns; takes the activation from `activation`, if given.
  LaunchOp gemm(moe::LaunchKind kind, Type result, ValueRange inputs, int64_t k, int64_t columns, Region *activation,
                bool biased = false) {
    auto launch = LaunchOp::create(builder, loc, result, kind, inputs, builder.getI64IntegerAttr(k),
                                   builder.getI64IntegerAttr(columns), config, DictionaryAttr(), biased);
    if (activation)
      launch.getActivation().takeBody(*activation);
    return launch;
  }
};

Value lowerRoute(RouteOp route, LaunchBuilder &launches) {
  int64_t experts = dim(route.getWeight(), 0);
  auto logits = RankedTensorType::get({dim(route.getHidden(), 0), experts}, launches.builder.getF32Type());
  SmallVector<Value> inputs{route.getHidden(), route.getWeight()};
  if (route.getBias())
    inputs.push_back(route.getBias());
  Value scores =
      launches.gemm(moe::LaunchKind::Router, logits, inputs, dim(route.getHidden(), 1), experts, nullptr).getResult(0);
  SmallVector<Value> routeInputs{scores};
  if (route.getCorrection())
    routeInputs.push_back(route.getCorrection());
  SmallVector<NamedAttribute> spec;
  for (NamedAttribute attr : route->getAttrs())
    if (attr.getName() != "operandSegmentSizes")
      spec.push_back(attr);
  auto chosen = launches.step(moe::LaunchKind::Route, route->getResultTypes(), routeInputs,
                              launches.builder.getDictionaryAttr(spec));
  route->replaceAllUsesWith(chosen->getResults());
  route.erase();
  return chosen.getResult(0);
}

void lowerShared(SharedFfnOp shared, LaunchBuilder &launches) {
  Type element = cast<RankedTensorType>(shared.getHidden().getType()).getElementType();
  int64_t intermediate = dim(shared.getGate(), 0), hidden = dim(shared.getHidden(), 1);
  auto rows = RankedTensorType::get({ShapedType::kDynamic, intermediate}, element);
  SmallVector<Value> inputs{shared.getHidden(), shared.getGate(), shared.getUp()};
  Value activated =
      launches.gemm(moe::LaunchKind::SharedGateUp, rows, inputs, hidden, intermediate, &shared.getActivation())
          .getResult(0);
  SmallVector<Value> downInputs{activated, shared.getDown()};
  if (shared.getRouter())
    downInputs.append({shared.getHidden(), shared.getRouter()});
  auto down = launches.gemm(moe::LaunchKind::SharedDown, shared.getResult().getType(), downInputs, intermediate, hidden,
                            nullptr);
  shared.getResult().replaceAllUsesWith(down.getResult(0));
  shared.erase();
}

DictionaryAttr tableOf(GroupedFfnOp grouped, OpBuilder &builder) {
  return builder.getDictionaryAttr({
      builder.getNamedAttr("slots", grouped.getSlotsAttr()),
      builder.getNamedAttr("packed", grouped.getPackedAttr()),
      builder.getNamedAttr("order", grouped.getOrderAttr()),
      builder.getNamedAttr("hidden_stride", grouped.getHiddenStrideAttr()),
      builder.getNamedAttr("intermediate_stride", grouped.getIntermediateStrideAttr()),
  });
}

/// The shared expert that is one more of the group's, where the config is a GPU's; else null.
SharedFfnOp joinedTo(GroupedFfnOp grouped) {
  const bool joins = isa<CudaConfigAttr>(*grouped.getConfig()) && joinsShared(passes::shapeOf(grouped));
  return joins ? grouped.getInit().getDefiningOp<SharedFfnOp>() : SharedFfnOp();
}

LaunchOp lowerDispatch(GroupedFfnOp grouped, LaunchBuilder &launches) {
  Type element = cast<RankedTensorType>(grouped.getHidden().getType()).getElementType();
  auto slotRows = RankedTensorType::get({ShapedType::kDynamic, dim(grouped.getHidden(), 1)}, element);
  auto rowToken = RankedTensorType::get({ShapedType::kDynamic}, launches.builder.getI32Type());
  return launches.step(moe::LaunchKind::Dispatch, {slotRows, rowToken, grouped.getCounts().getType()},
                       {grouped.getHidden(), grouped.getIds(), grouped.getWeights()},
                       tableOf(grouped, launches.builder));
}

/// `joined`: a shared expert that goes with them, or null; it is gone after.
void lowerGrouped(GroupedFfnOp grouped, LaunchOp dispatch, SharedFfnOp joined, LaunchBuilder &launches) {
  OpBuilder &builder = launches.builder;
  Type element = cast<RankedTensorType>(grouped.getHidden().getType()).getElementType();
  int64_t intermediate = dim(grouped.getGate(), 1), hidden = dim(grouped.getHidden(), 1);
  auto activatedRows = RankedTensorType::get({ShapedType::kDynamic, intermediate}, element);
  auto sums = RankedTensorType::get({ShapedType::kDynamic, hidden}, builder.getF32Type());
  const auto biased = static_cast<bool>(grouped.getGateBias());
  SmallVector<Value> gateUpInputs{dispatch.getResult(0), grouped.getGate(), grouped.getUp()};
  if (biased)
    gateUpInputs.append({grouped.getGateBias(), grouped.getUpBias()});
  if (joined)
    gateUpInputs.append({joined.getGate(), joined.getUp()});
  LaunchOp gateUp = launches.gemm(moe::LaunchKind::GateUp, activatedRows, gateUpInputs, hidden, intermediate,
                                  &grouped.getActivation(), biased);
  gateUp.setWeightOnInput(grouped.getWeightOnInput());
  gateUp.setJoined(static_cast<bool>(joined));
  Value activated = gateUp.getResult(0);
  SmallVector<Value> downInputs{activated, dispatch.getResult(1), grouped.getDown()};
  if (biased)
    downInputs.push_back(grouped.getDownBias());
  if (joined)
    downInputs.push_back(joined.getDown());
  else if (grouped.getInit())
    downInputs.push_back(grouped.getInit());
  if (joined && joined.getRouter())
    downInputs.append({joined.getHidden(), joined.getRouter()});
  LaunchOp down = launches.gemm(moe::LaunchKind::Down, sums, downInputs, intermediate, hidden, nullptr, biased);
  down.setJoined(static_cast<bool>(joined));
  auto store = launches.step(moe::LaunchKind::Store, grouped.getOutput().getType(), down.getResult(0));
  grouped.getOutput().replaceAllUsesWith(store.getResult(0));
  grouped.getCounts().replaceAllUsesWith(dispatch.getResult(2));
  grouped.erase();
  if (joined)
    joined.erase();
}

bool isPlanned(GroupedFfnOp grouped) {
  return grouped.getConfig() && grouped.getSlots() && grouped.getPacked() && grouped.getOrder() &&
         grouped.getHiddenStride() && grouped.getIntermediateStride();
}

struct LowerToLaunches : passes::impl::LowerToLaunchesBase<LowerToLaunches> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    auto groups = llvm::to_vector(function.getOps<GroupedFfnOp>());
    if (groups.size() != 1 || !isPlanned(groups[0])) {
      function.emitError("a layer to launch has one moe.grouped_ffn with config, packed, order, slots and strides");
      return signalPassFailure();
    }
    OpBuilder builder(groups[0]);
    LaunchBuilder launches{builder, groups[0].getLoc(), *groups[0].getConfig()};
    for (auto route : llvm::to_vector(function.getOps<RouteOp>()))
      lowerRoute(route, launches);
    // The dispatch also clears the sums that the shared expert is the first to add to.
    LaunchOp dispatch = lowerDispatch(groups[0], launches);
    SharedFfnOp joined = joinedTo(groups[0]);
    dispatch.setJoined(static_cast<bool>(joined));
    for (auto shared : llvm::to_vector(function.getOps<SharedFfnOp>()))
      if (shared != joined)
        lowerShared(shared, launches);
    lowerGrouped(groups[0], dispatch, joined, launches);
    numLaunches += llvm::range_size(function.getOps<LaunchOp>());
  }
};

} // namespace
