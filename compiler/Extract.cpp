#include "compiler/Extract.h"

#include "ir/Moe.h"
#include "passes/PlanFromIr.h"

#include <algorithm>

using namespace mlir;

namespace moec {
namespace {

DType dtypeOf(Type element) { return element.isBF16() ? DType::BF16 : element.isF16() ? DType::F16 : DType::F32; }

/// The named weight behind an operand; empty for an absent operand.
Result<WeightRef> weightOf(Value value, const char *what) {
  WeightRef ref;
  if (!value)
    return ref;
  auto weight = value.getDefiningOp<moe::WeightOp>();
  if (!weight)
    return makeError(Code::InvalidModel, "{} is not a moe.weight", what);
  auto type = cast<RankedTensorType>(value.getType());
  ref.name = weight.getName().str();
  ref.shape.assign(type.getShape().begin(), type.getShape().end());
  ref.dtype = dtypeOf(type.getElementType());
  ref.format = weight.getBlockE4m3() ? WeightFormat::BlockE4M3 : WeightFormat::Plain;
  return ref;
}

/// Collects weights and remembers the first error.
struct WeightCollector {
  Status error;

  WeightRef operator()(Value value, const char *what) {
    Result<WeightRef> ref = weightOf(value, what);
    if (!ref && error.ok())
      error = ref.status();
    return ref ? *ref : WeightRef();
  }
};

Scoring scoringOf(std::optional<moe::ScoringKind> kind) {
  if (!kind)
    return Scoring::None;
  return *kind == moe::ScoringKind::Softmax ? Scoring::Softmax : Scoring::Sigmoid;
}

RouterSpec routerOf(moe::RouteOp route) {
  RouterSpec spec;
  spec.before = scoringOf(route.getBefore());
  spec.after = scoringOf(route.getAfter());
  spec.correctionBias = static_cast<bool>(route.getCorrection());
  spec.routerBias = static_cast<bool>(route.getBias());
  spec.groups = static_cast<uint32_t>(route.getGroups());
  spec.groupsPicked = static_cast<uint32_t>(route.getGroupsPicked());
  spec.groupTop = static_cast<uint32_t>(route.getGroupTop());
  spec.renormalise = route.getEpsilon().has_value();
  spec.epsilon = route.getEpsilon() ? route.getEpsilon()->convertToDouble() : 0.0;
  spec.scale = route.getScale().convertToDouble();
  return spec;
}

/// The layer's one op of a kind, or null where there is none or more than one.
template <typename OpT> OpT onlyOp(func::FuncOp layer) {
  auto ops = llvm::to_vector(layer.getOps<OpT>());
  return ops.size() == 1 ? ops[0] : OpT();
}

} // namespace

Result<LayerDescription> describeLayer(func::FuncOp layer) {
  auto route = onlyOp<moe::RouteOp>(layer);
  auto grouped = onlyOp<moe::GroupedFfnOp>(layer);
  if (!route || !grouped || grouped.getIds() != route.getIds() || grouped.getWeights() != route.getWeights())
    return makeError(Code::InvalidModel, "{} is not one route and one group of experts that it feeds",
                     layer.getName().str());
  auto shared = onlyOp<moe::SharedFfnOp>(layer);
  if (Value init = grouped.getInit(); init && (!shared || init != shared.getResult()))
    return makeError(Code::InvalidModel, "{}: the experts' init is not the shared expert", layer.getName().str());
  Value hidden = layer.getArgument(0);
  if (grouped.getHidden() != hidden || route.getHidden() != hidden || (shared && shared.getHidden() != hidden))
    return makeError(Code::InvalidModel, "{}: router and experts must read the layer's hidden states",
                     layer.getName().str());
  LayerDescription description;
  description.layer = static_cast<uint32_t>(layer->getAttrOfType<IntegerAttr>(moe::kLayerAttr).getInt());
  description.shape = passes::shapeOf(grouped);
  description.router = routerOf(route);
  WeightCollector weight;
  LayerWeights &weights = description.weights;
  weights.router = weight(route.getWeight(), "the router's weight");
  weights.routerBias = weight(route.getBias(), "the router's bias");
  weights.correctionBias = weight(route.getCorrection(), "the correction bias");
  weights.gate = weight(grouped.getGate(), "the experts' gate");
  weights.up = weight(grouped.getUp(), "the experts' up projection");
  weights.down = weight(grouped.getDown(), "the experts' down projection");
  weights.gateBias = weight(grouped.getGateBias(), "the gate's bias");
  weights.upBias = weight(grouped.getUpBias(), "the up projection's bias");
  weights.downBias = weight(grouped.getDownBias(), "the down projection's bias");
  if (shared) {
    weights.sharedGate = weight(shared.getGate(), "the shared expert's gate");
    weights.sharedUp = weight(shared.getUp(), "the shared expert's up projection");
    weights.sharedDown = weight(shared.getDown(), "the shared expert's down projection");
    weights.sharedRouter = weight(shared.getRouter(), "the shared expert's router");
  }
  if (!weight.error.ok())
    return weight.error.withContext("{}", layer.getName().str());
  return description;
}

LayerPlan planOfLayer(func::FuncOp layer) {
  auto grouped = onlyOp<moe::GroupedFfnOp>(layer);
  LayerPlan plan;
  plan.config = passes::fromAttribute(*grouped.getConfig());
  ArrayRef<int32_t> slots = *grouped.getSlots();
  ArrayRef<int8_t> packed = *grouped.getPacked();
  ArrayRef<int16_t> order = *grouped.getOrder();
  plan.table.slots.assign(slots.begin(), slots.end());
  plan.table.packed.assign(packed.begin(), packed.end());
  plan.table.order.assign(order.begin(), order.end());
  return plan;
}

Result<ModelDescription> describeModel(ModuleOp module) {
  ModelDescription model;
  if (auto name = module->getAttrOfType<StringAttr>(moe::kModelAttr))
    model.name = name.getValue().str();
  for (auto layer : module.getOps<func::FuncOp>()) {
    Result<LayerDescription> description = describeLayer(layer);
    if (!description)
      return description.status();
    model.layers.push_back(*description);
  }
  std::sort(model.layers.begin(), model.layers.end(), [](auto &a, auto &b) { return a.layer < b.layer; });
  return model;
}

} // namespace moec
