// Verifiers and folds. Each error cites the constraint's number in MoeOps.td.
#include "ir/Moe.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/SmallBitVector.h"

#include <cmath>

using namespace mlir;
using namespace moec::moe;

namespace {

RankedTensorType tensorOf(Value value) { return cast<RankedTensorType>(value.getType()); }
Type elementOf(Value value) { return tensorOf(value).getElementType(); }

/// `sizes` with -1 for "any size, static or not".
bool hasShape(Value value, ArrayRef<int64_t> sizes) {
  RankedTensorType type = tensorOf(value);
  if (type.getRank() != static_cast<int64_t>(sizes.size()))
    return false;
  for (auto [have, want] : llvm::zip(type.getShape(), sizes))
    if (want != -1 && have != want)
      return false;
  return true;
}

/// Two tensors agree in dimension `i` of `a` and `j` of `b`, both static or both dynamic.
bool sameDim(Value a, unsigned i, Value b, unsigned j) {
  return tensorOf(a).getDimSize(i) == tensorOf(b).getDimSize(j);
}

bool hasStaticTail(Value value) {
  return llvm::none_of(tensorOf(value).getShape().drop_front(), ShapedType::isDynamic);
}

/// An expert has one entry of an i16 array (`order`).
constexpr int64_t maxExperts = INT16_MAX;
/// Row strides in bytes, of rows that are padded to an odd number of cache lines, are to stay below 2^32.
constexpr int64_t maxSize = int64_t{1} << 28;

/// `ids` is [T, K] with the T of `tokens` and a static K in 1..experts.
bool isIdsOf(Value ids, Value tokens, int64_t experts) {
  return tensorOf(ids).getRank() == 2 && sameDim(ids, 0, tokens, 0) && tensorOf(ids).getDimSize(1) >= 1 &&
         tensorOf(ids).getDimSize(1) <= experts;
}

bool areSlots(ArrayRef<int32_t> slots, int64_t experts) {
  return static_cast<int64_t>(slots.size()) == experts && llvm::all_of(slots, [](int32_t slot) { return slot >= 1; });
}

bool isPermutation(ArrayRef<int16_t> order, int64_t experts) {
  if (static_cast<int64_t>(order.size()) != experts)
    return false;
  llvm::SmallBitVector seen(order.size());
  for (int16_t expert : order)
    if (expert >= 0 && expert < experts)
      seen.set(expert);
  return seen.all();
}

LogicalResult verifyActivation(Operation *op, Region &region, StringRef shape, StringRef closed) {
  if (region.empty() || region.front().getNumArguments() != 2 ||
      llvm::any_of(region.front().getArgumentTypes(), [](Type type) { return !type.isF32(); }))
    return op->emitOpError(shape)
           << " the activation takes two f32 arguments, the gate's and the up projection's entry";
  if (!isa_and_nonnull<YieldOp>(region.front().empty() ? nullptr : &region.front().back()))
    return op->emitOpError(shape) << " the activation ends with moe.yield";
  for (Operation &inner : region.front().without_terminator()) {
    // An unregistered op has no dialect.
    bool known = isa_and_nonnull<arith::ArithDialect, math::MathDialect>(inner.getDialect());
    bool scalar = llvm::all_of(inner.getResultTypes(), [](Type type) { return type.isF32() || type.isInteger(1); });
    if (!known || !scalar || inner.getNumResults() != 1 || inner.getNumRegions() != 0)
      return op->emitOpError(closed) << " the activation holds '" << inner.getName()
                                     << "', expected scalar f32 and i1 ops of arith and math";
  }
  return success();
}

/// `gate`, `up` [E, I, H] and `down` [E, H, I] for experts, without E for a shared FFN.
LogicalResult verifyFfnWeights(Operation *op, StringRef cite, Value tokens, Value gate, Value up, Value down,
                               int64_t hidden, bool experts) {
  int64_t rank = experts ? 3 : 2;
  if (tensorOf(gate).getRank() != rank || tensorOf(gate) != tensorOf(up) || tensorOf(down).getRank() != rank ||
      !sameDim(gate, rank - 2, down, rank - 1) || !sameDim(gate, rank - 1, down, rank - 2) ||
      (experts && !sameDim(gate, 0, down, 0)))
    return op->emitOpError(cite) << " gate and up are " << (experts ? "[E, I, H]" : "[Is, H]") << " and down "
                                 << (experts ? "[E, H, I]" : "[H, Is]") << ", but they are " << gate.getType() << ", "
                                 << up.getType() << " and " << down.getType();
  if (experts && tensorOf(gate).getDimSize(0) > maxExperts)
    return op->emitOpError(cite) << " there are " << tensorOf(gate).getDimSize(0) << " experts, expected at most "
                                 << maxExperts;
  if (tensorOf(gate).getDimSize(rank - 1) != hidden)
    return op->emitOpError(cite) << " the weights have H = " << tensorOf(gate).getDimSize(rank - 1)
                                 << " but the tokens have " << hidden;
  if (elementOf(gate) != elementOf(tokens) || elementOf(down) != elementOf(tokens))
    return op->emitOpError(cite) << " weights and tokens differ in dtype: " << elementOf(gate) << ", "
                                 << elementOf(down) << " and " << elementOf(tokens);
  return success();
}

/// All of an experts' network's biases, or none.
LogicalResult verifyFfnBiases(Operation *op, StringRef cite, Value gate, Value down, ArrayRef<Value> biases) {
  size_t given = llvm::count_if(biases, [](Value bias) { return static_cast<bool>(bias); });
  if (given == 0)
    return success();
  if (given != biases.size())
    return op->emitOpError(cite) << " gate, up and down have a bias each or none has, but " << given
                                 << " of 3 are given";
  ArrayRef<int64_t> inner = tensorOf(gate).getShape().take_front(2), outer = tensorOf(down).getShape().take_front(2);
  if (!hasShape(biases[0], inner) || !hasShape(biases[1], inner) || !hasShape(biases[2], outer))
    return op->emitOpError(cite) << " gate_bias and up_bias are [E, I] and down_bias [E, H] with E = " << inner[0]
                                 << ", I = " << inner[1] << " and H = " << outer[1] << ", but they are "
                                 << biases[0].getType() << ", " << biases[1].getType() << " and "
                                 << biases[2].getType();
  return success();
}

LogicalResult verifyRouter(Operation *op, StringRef citeWeight, StringRef citeBias, Value hidden, Value weight,
                           Value bias) {
  if (tensorOf(hidden).getRank() != 2 || tensorOf(weight).getRank() != 2 || !sameDim(hidden, 1, weight, 1) ||
      !hasStaticTail(hidden))
    return op->emitOpError(citeWeight) << " hidden is [T, H] and weight [E, H] with the same H, but they are "
                                       << hidden.getType() << " and " << weight.getType();
  if (bias && !hasShape(bias, {tensorOf(weight).getDimSize(0)}))
    return op->emitOpError(citeBias) << " bias is [E] with E = " << tensorOf(weight).getDimSize(0) << ", but it is "
                                     << bias.getType();
  return success();
}

struct Selection {
  int64_t experts, k, groups, groupsPicked, groupTop;
};

LogicalResult verifySelection(Operation *op, const Selection &s, Value tokens, Value correction, Value ids,
                              Value weights, ArrayRef<StringRef> cite) {
  if (correction && !hasShape(correction, {s.experts}))
    return op->emitOpError(cite[0]) << " correction is [E] with E = " << s.experts << ", but it is "
                                    << correction.getType();
  if (s.k < 1 || s.k > s.experts)
    return op->emitOpError(cite[1]) << " k = " << s.k << " is not in 1.." << s.experts;
  if (s.groups < 1 || s.experts % s.groups != 0)
    return op->emitOpError(cite[2]) << " " << s.groups << " groups do not divide " << s.experts << " experts";
  if (s.groupsPicked < 1 || s.groupsPicked > s.groups)
    return op->emitOpError(cite[2]) << " groups_picked = " << s.groupsPicked << " is not in 1.." << s.groups;
  if (s.groupTop < 1 || s.groupTop > s.experts / s.groups)
    return op->emitOpError(cite[2]) << " group_top = " << s.groupTop << " is not in 1.." << s.experts / s.groups;
  if (s.groupsPicked * (s.experts / s.groups) < s.k)
    return op->emitOpError(cite[3]) << " the picked groups hold " << s.groupsPicked * (s.experts / s.groups)
                                    << " experts, fewer than k = " << s.k;
  if (!hasShape(ids, {-1, s.k}) || !sameDim(ids, 0, tokens, 0) ||
      tensorOf(weights).getShape() != tensorOf(ids).getShape())
    return op->emitOpError(cite[4]) << " ids and weights are [T, " << s.k << "], but they are " << ids.getType()
                                    << " and " << weights.getType();
  return success();
}

LogicalResult verifyRank2(Operation *op, Value value) {
  if (tensorOf(value).getRank() != 2)
    return op->emitOpError("(C1) the operand has rank 2, but it is ") << value.getType();
  return success();
}

bool isFinite(const APFloat &value) { return value.isFinite(); }

} // namespace

LogicalResult WeightOp::verify() {
  StringRef name = getName();
  if (name.empty() || llvm::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return emitOpError("(C1) the name is empty or holds control characters");
  if (name.contains("{e}") && tensorOf(getResult()).getRank() < 2)
    return emitOpError("(C2) '") << name << "' is per expert, so its tensor has rank 2 or more, but it is "
                                 << getResult().getType();
  for (int64_t size : tensorOf(getResult()).getShape())
    if (size < 1 || size > maxSize)
      return emitOpError("(C3) a dimension of '") << name << "' is " << size << ", expected 1.." << maxSize;
  if (getBlockE4m3() && tensorOf(getResult()).getRank() != (name.contains("{e}") ? 3 : 2))
    return emitOpError("(C4) block_e4m3 is on matrices, but '") << name << "' is " << getResult().getType();
  return success();
}

LogicalResult RouterOp::verify() {
  if (failed(verifyRouter(*this, "(C1)", "(C2)", getHidden(), getWeight(), getBias())))
    return failure();
  if (!hasShape(getLogits(), {-1, tensorOf(getWeight()).getDimSize(0)}) || !sameDim(getLogits(), 0, getHidden(), 0))
    return emitOpError("(C3) logits are [T, E] with E = ")
           << tensorOf(getWeight()).getDimSize(0) << ", but they are " << getLogits().getType();
  return success();
}

LogicalResult ScoreOp::verify() { return verifyRank2(*this, getLogits()); }

LogicalResult TopKOp::verify() {
  if (tensorOf(getScores()).getRank() != 2 || !hasStaticTail(getScores()))
    return emitOpError("(C1) scores are [T, E] with a static E, but they are ") << getScores().getType();
  Selection selection{tensorOf(getScores()).getDimSize(1), static_cast<int64_t>(getK()),
                      static_cast<int64_t>(getGroups()), static_cast<int64_t>(getGroupsPicked()),
                      static_cast<int64_t>(getGroupTop())};
  return verifySelection(*this, selection, getScores(), getCorrection(), getIds(), getWeights(),
                         {"(C1)", "(C2)", "(C3)", "(C4)", "(C5)"});
}

LogicalResult NormalizeOp::verify() {
  if (failed(verifyRank2(*this, getWeights())))
    return failure();
  if (!isFinite(getEpsilon()) || getEpsilon().isNegative())
    return emitOpError("(C2) epsilon is finite and not negative");
  return success();
}

OpFoldResult NormalizeOp::fold(FoldAdaptor) {
  auto score = getWeights().getDefiningOp<ScoreOp>();
  if (score && score.getKind() == ScoringKind::Softmax && getEpsilon().isZero())
    return getWeights();
  return {};
}

LogicalResult ScaleOp::verify() {
  if (failed(verifyRank2(*this, getWeights())))
    return failure();
  if (!isFinite(getFactor()))
    return emitOpError("(C2) the factor is finite");
  return success();
}

OpFoldResult ScaleOp::fold(FoldAdaptor) {
  if (getFactor().convertToDouble() == 1.0)
    return getWeights();
  if (auto inner = getWeights().getDefiningOp<ScaleOp>()) {
    double both = getFactor().convertToDouble() * inner.getFactor().convertToDouble();
    if (!std::isfinite(both))
      return {};
    setFactorAttr(Builder(getContext()).getF64FloatAttr(both));
    getWeightsMutable().assign(inner.getWeights());
    return getResult();
  }
  return {};
}

LogicalResult CountPairsOp::verify() {
  if (tensorOf(getIds()).getRank() != 2 || tensorOf(getCounts()).getRank() != 1 ||
      !tensorOf(getCounts()).hasStaticShape() || !isIdsOf(getIds(), getIds(), tensorOf(getCounts()).getDimSize(0)))
    return emitOpError("(C1) ids are [T, K] and counts [E], static, with K in 1..E, but they are ")
           << getIds().getType() << " and " << getCounts().getType();
  return success();
}

LogicalResult DispatchOp::verify() {
  if (tensorOf(getTokens()).getRank() != 2 || tensorOf(getIds()).getRank() != 2 ||
      !sameDim(getTokens(), 0, getIds(), 0) || !hasStaticTail(getTokens()))
    return emitOpError("(C1) tokens are [T, H] and ids [T, K], but they are ")
           << getTokens().getType() << " and " << getIds().getType();
  if (getWeights() && tensorOf(getWeights()).getShape() != tensorOf(getIds()).getShape())
    return emitOpError("(C1) weights are [T, K] like ids, but they are ") << getWeights().getType();
  RankedTensorType buffer = tensorOf(getBuffer());
  if (buffer.getRank() != 3 || buffer.isDynamicDim(0) || !buffer.isDynamicDim(1) ||
      !sameDim(getBuffer(), 2, getTokens(), 1) || buffer.getElementType() != elementOf(getTokens()) ||
      getSlot().getType() != getIds().getType())
    return emitOpError("(C2) the buffer is [E, ?, H] of the tokens' dtype and slot like ids, but they are ")
           << getBuffer().getType() << " and " << getSlot().getType();
  if (!isIdsOf(getIds(), getTokens(), buffer.getDimSize(0)))
    return emitOpError("(C2) K is static and in 1..E with E = ")
           << buffer.getDimSize(0) << ", but ids are " << getIds().getType();
  if (getCapacity() && static_cast<int64_t>(*getCapacity()) < 1)
    return emitOpError("(C3) capacity is at least 1, but it is ") << static_cast<int64_t>(*getCapacity());
  if (getDrop() && !getCapacity())
    return emitOpError("(C3) a drop policy needs a capacity");
  if (getDrop() == DropPolicy::Score && !getWeights())
    return emitOpError("(C3) drop = score needs the weights");
  if (getSlots() && !areSlots(*getSlots(), buffer.getDimSize(0)))
    return emitOpError("(C4) slots have one positive entry for each of ") << buffer.getDimSize(0) << " experts";
  if (getWeightOnInput() && !getWeights())
    return emitOpError("(C5) weight_on_input needs the weights");
  return success();
}

LogicalResult ExpertFfnOp::verify() {
  if (tensorOf(getBuffer()).getRank() != 3 || !tensorOf(getBuffer()).isDynamicDim(1))
    return emitOpError("(C1) the buffer is [E, ?, H], but it is ") << getBuffer().getType();
  if (failed(verifyFfnWeights(*this, "(C1)", getBuffer(), getGate(), getUp(), getDown(),
                              tensorOf(getBuffer()).getDimSize(2), true)))
    return failure();
  if (!sameDim(getBuffer(), 0, getGate(), 0))
    return emitOpError("(C1) the buffer has ")
           << tensorOf(getBuffer()).getDimSize(0) << " experts but the weights " << tensorOf(getGate()).getDimSize(0);
  if (getResult().getType() != getBuffer().getType())
    return emitOpError("(C4) the result has the type of the buffer");
  if (failed(verifyFfnBiases(*this, "(C5)", getGate(), getDown(), {getGateBias(), getUpBias(), getDownBias()})))
    return failure();
  return verifyActivation(*this, getActivation(), "(C2)", "(C3)");
}

LogicalResult SharedFfnOp::verify() {
  if (tensorOf(getHidden()).getRank() != 2)
    return emitOpError("(C1) hidden is [T, H], but it is ") << getHidden().getType();
  int64_t hidden = tensorOf(getHidden()).getDimSize(1);
  if (failed(verifyFfnWeights(*this, "(C1)", getHidden(), getGate(), getUp(), getDown(), hidden, false)))
    return failure();
  if (getRouter() && !hasShape(getRouter(), {1, hidden}))
    return emitOpError("(C2) router is [1, ") << hidden << "], but it is " << getRouter().getType();
  if (getResult().getType() != getHidden().getType())
    return emitOpError("(C4) the result has the type of hidden");
  return verifyActivation(*this, getActivation(), "(C3)", "(C3)");
}

LogicalResult CombineOp::verify() {
  RankedTensorType experts = tensorOf(getExpertOutput());
  if (experts.getRank() != 3 || experts.isDynamicDim(0) || !experts.isDynamicDim(1) ||
      tensorOf(getIds()).getRank() != 2 || getSlot().getType() != getIds().getType() ||
      (getWeights() && tensorOf(getWeights()).getShape() != tensorOf(getIds()).getShape())) {
    InFlightDiagnostic error =
        emitOpError("(C1) expert_output is [E, ?, H], ids, slot and weights are [T, K], but they are ")
        << getExpertOutput().getType() << ", " << getIds().getType() << ", " << getSlot().getType();
    return getWeights() ? error << " and " << getWeights().getType() : error << " and no weights";
  }
  if (tensorOf(getOutput()).getRank() != 2 || !sameDim(getOutput(), 1, getExpertOutput(), 2) ||
      !sameDim(getOutput(), 0, getIds(), 0) || elementOf(getOutput()) != elementOf(getExpertOutput()) ||
      (getInit() && getInit().getType() != getOutput().getType()))
    return emitOpError("(C2) output and init are [T, H] of the experts' dtype, but output is ")
           << getOutput().getType();
  return success();
}

LogicalResult RouteOp::verify() {
  if (failed(verifyRouter(*this, "(C1)", "(C1)", getHidden(), getWeight(), getBias())))
    return failure();
  Selection selection{tensorOf(getWeight()).getDimSize(0), static_cast<int64_t>(getK()),
                      static_cast<int64_t>(getGroups()), static_cast<int64_t>(getGroupsPicked()),
                      static_cast<int64_t>(getGroupTop())};
  if (failed(verifySelection(*this, selection, getHidden(), getCorrection(), getIds(), getWeights(),
                             {"(C2)", "(C2)", "(C2)", "(C2)", "(C2)"})))
    return failure();
  if (!isFinite(getScale()) || (getEpsilon() && (!isFinite(*getEpsilon()) || getEpsilon()->isNegative())))
    return emitOpError("(C3) scale and epsilon are finite, epsilon is not negative");
  return success();
}

static LogicalResult verifyStrides(GroupedFfnOp op) {
  auto check = [&](StringRef name, std::optional<uint64_t> stride, int64_t columns) -> LogicalResult {
    if (stride && (static_cast<int64_t>(*stride) < columns || static_cast<int64_t>(*stride) > 2 * maxSize))
      return op.emitOpError("(C6) ") << name << " is " << static_cast<int64_t>(*stride) << ", expected " << columns
                                     << ".." << 2 * maxSize;
    return success();
  };
  if (failed(check("hidden_stride", op.getHiddenStride(), tensorOf(op.getGate()).getDimSize(2))))
    return failure();
  return check("intermediate_stride", op.getIntermediateStride(), tensorOf(op.getGate()).getDimSize(1));
}

LogicalResult GroupedFfnOp::verify() {
  if (tensorOf(getHidden()).getRank() != 2 || tensorOf(getIds()).getRank() != 2 ||
      !sameDim(getHidden(), 0, getIds(), 0) || tensorOf(getWeights()).getShape() != tensorOf(getIds()).getShape() ||
      (getInit() && getInit().getType() != getHidden().getType()))
    return emitOpError("(C1) hidden and init are [T, H], ids and weights [T, K], but hidden is ")
           << getHidden().getType() << ", ids " << getIds().getType() << " and weights " << getWeights().getType();
  if (failed(verifyFfnWeights(*this, "(C2)", getHidden(), getGate(), getUp(), getDown(),
                              tensorOf(getHidden()).getDimSize(1), true)) ||
      failed(verifyFfnBiases(*this, "(C7)", getGate(), getDown(), {getGateBias(), getUpBias(), getDownBias()})) ||
      failed(verifyActivation(*this, getActivation(), "(C3)", "(C3)")))
    return failure();
  int64_t experts = tensorOf(getGate()).getDimSize(0);
  if (!isIdsOf(getIds(), getHidden(), experts))
    return emitOpError("(C1) K is static and in 1..E with E = ") << experts << ", but ids are " << getIds().getType();
  if (getSlots() && !areSlots(*getSlots(), experts))
    return emitOpError("(C4) slots have one positive entry for each of ") << experts << " experts";
  if (getPacked() && (static_cast<int64_t>(getPacked()->size()) != experts ||
                      llvm::any_of(*getPacked(), [](int8_t packed) { return packed != 0 && packed != 1; })))
    return emitOpError("(C4) packed has one entry, 0 or 1, for each of ") << experts << " experts";
  if (getOrder() && !isPermutation(*getOrder(), experts))
    return emitOpError("(C4) order is a permutation of ") << experts << " experts";
  if (getOutput().getType() != getHidden().getType() || !hasShape(getCounts(), {experts}))
    return emitOpError("(C5) output has the type of hidden and counts are [") << experts << "]";
  return verifyStrides(*this);
}

namespace {

/// What a launch of each kind takes and gives; see the table in MoeOps.td.
struct LaunchSignature {
  unsigned inputs, optionalInputs, outputs;
  bool spec;
};

LaunchSignature signatureOf(LaunchKind kind) {
  switch (kind) {
  case LaunchKind::Router: return {2, 1, 1, false};
  case LaunchKind::Route: return {1, 1, 2, true};
  case LaunchKind::Dispatch: return {3, 0, 3, true};
  case LaunchKind::GateUp: return {3, 0, 1, false};
  case LaunchKind::Down: return {3, 1, 1, false};
  case LaunchKind::SharedGateUp: return {3, 0, 1, false};
  case LaunchKind::SharedDown: return {2, 2, 1, false};
  case LaunchKind::Store: return {1, 0, 1, false};
  }
  return {};
}

} // namespace

static LogicalResult verifyLaunchSignature(LaunchOp op) {
  LaunchSignature expected = signatureOf(op.getKind());
  if (op.getBiased())
    expected.inputs += op.getKind() == LaunchKind::GateUp ? 2 : 1;
  if (op.getJoined() && op.getKind() == LaunchKind::GateUp)
    expected.inputs += 2;
  if (op.getJoined() && op.getKind() == LaunchKind::Down)
    ++expected.inputs, expected.optionalInputs = 2;
  size_t inputs = op.getInputs().size();
  if ((inputs != expected.inputs && inputs != expected.inputs + expected.optionalInputs) ||
      op.getOutputs().size() != expected.outputs)
    return op.emitOpError("(C3) ") << stringifyLaunchKind(op.getKind()) << " takes " << expected.inputs
                                   << " inputs and " << expected.optionalInputs << " optional ones and gives "
                                   << expected.outputs << ", but it has " << inputs << " and "
                                   << op.getOutputs().size();
  if (expected.spec != op.getSpec().has_value())
    return op.emitOpError("(C3) ") << stringifyLaunchKind(op.getKind())
                                   << (expected.spec ? " needs a spec" : " has no spec");
  return success();
}

LogicalResult LaunchOp::verify() {
  LaunchKind kind = getKind();
  bool gemm = kind != LaunchKind::Route && kind != LaunchKind::Dispatch && kind != LaunchKind::Store;
  if (gemm != getK().has_value() || gemm != getColumns().has_value() || gemm != getConfig().has_value())
    return emitOpError("(C1) ") << stringifyLaunchKind(kind)
                                << (gemm ? " needs k, columns and config" : " has no k, columns or config");
  auto isSize = [](uint64_t size) { return size >= 1 && size <= static_cast<uint64_t>(maxSize); };
  if (gemm && (!isSize(*getK()) || !isSize(*getColumns())))
    return emitOpError("(C1) k and columns are in 1..") << maxSize << ", but they are " << static_cast<int64_t>(*getK())
                                                        << " and " << static_cast<int64_t>(*getColumns());
  if (getBiased() && kind != LaunchKind::GateUp && kind != LaunchKind::Down)
    return emitOpError("(C4) ") << stringifyLaunchKind(kind) << " is not biased";
  if (getWeightOnInput() && kind != LaunchKind::GateUp)
    return emitOpError("(C5) ") << stringifyLaunchKind(kind) << " has no weight on its input";
  if (getJoined() && kind != LaunchKind::Dispatch && kind != LaunchKind::GateUp && kind != LaunchKind::Down)
    return emitOpError("(C6) ") << stringifyLaunchKind(kind) << " has no shared expert joined";
  if (getJoined() && (getBiased() || getWeightOnInput()))
    return emitOpError("(C6) a shared expert joins none that have biases or weights on their input");
  if (failed(verifyLaunchSignature(*this)))
    return failure();
  bool activated = kind == LaunchKind::GateUp || kind == LaunchKind::SharedGateUp;
  if (!activated && !getActivation().empty())
    return emitOpError("(C2) ") << stringifyLaunchKind(kind) << " has no activation";
  return activated ? verifyActivation(*this, getActivation(), "(C2)", "(C2)") : success();
}
