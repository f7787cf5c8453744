#include "ir/reference/Interpreter.h"

#include "ir/Moe.h"
#include "ir/reference/ActivationRegion.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace moec::reference {

namespace {

std::string nameOfExpert(StringRef name, int64_t expert) {
  std::string result;
  while (true) {
    auto [before, after] = name.split("{e}");
    result += before;
    if (before.size() == name.size())
      return result;
    result += std::to_string(expert);
    name = after;
  }
}

Result<Tensor> loadWeight(moe::WeightOp op, const WeightProvider &weights) {
  ArrayRef<int64_t> sizes = cast<RankedTensorType>(op.getResult().getType()).getShape();
  Shape shape(sizes.begin(), sizes.end());
  auto load = [&](const std::string &name, const Shape &wanted) -> Result<Tensor> {
    Result<Tensor> loaded = weights(name, wanted);
    if (loaded)
      if (Status status = expectShape(name.c_str(), *loaded, wanted); !status.ok())
        return status;
    return loaded;
  };
  if (!op.getName().contains("{e}"))
    return load(op.getName().str(), shape);
  Tensor stacked{shape, {}};
  for (int64_t expert = 0; expert < shape.front(); ++expert) {
    Result<Tensor> part = load(nameOfExpert(op.getName(), expert), Shape(shape.begin() + 1, shape.end()));
    if (!part)
      return part;
    stacked.values.insert(stacked.values.end(), part->values.begin(), part->values.end());
  }
  return stacked;
}

Scoring scoringOf(moe::ScoringKind kind) {
  return kind == moe::ScoringKind::Softmax ? Scoring::Softmax : Scoring::Sigmoid;
}

/// `moe.top_k` and `moe.route` name these alike.
template <typename OpT> TopKSpec topKSpecOf(OpT op) {
  return {static_cast<int64_t>(op.getK()), static_cast<int64_t>(op.getGroups()),
          static_cast<int64_t>(op.getGroupsPicked()), static_cast<int64_t>(op.getGroupTop())};
}

RouteSpec routeSpecOf(moe::RouteOp op) {
  RouteSpec spec;
  spec.topK = topKSpecOf(op);
  if (op.getBefore())
    spec.before = scoringOf(*op.getBefore());
  if (op.getAfter())
    spec.after = scoringOf(*op.getAfter());
  if (op.getEpsilon())
    spec.epsilon = op.getEpsilon()->convertToDouble();
  spec.scale = op.getScale().convertToDouble();
  return spec;
}

DispatchSpec dispatchSpecOf(moe::DispatchOp op) {
  DispatchSpec spec;
  spec.experts = cast<RankedTensorType>(op.getBuffer().getType()).getDimSize(0);
  if (op.getCapacity())
    spec.capacity = static_cast<int64_t>(*op.getCapacity());
  spec.drop = op.getDrop() == moe::DropPolicy::Score ? Drop::Score : Drop::Position;
  spec.weightOnInput = op.getWeightOnInput();
  return spec;
}

/// Holds the value of each SSA value seen so far. Operands' kinds follow from the verified types.
class LayerRun {
public:
  explicit LayerRun(const WeightProvider &weights) : weights(weights) {}

  void bind(Value value, LayerResult result) { values[value] = std::move(result); }

  Status run(Operation &op) {
    return llvm::TypeSwitch<Operation *, Status>(&op)
        .Case([&](moe::WeightOp op) { return set(op, loadWeight(op, weights)); })
        .Case([&](moe::RouterOp op) {
          return set(op, router(*tensor(op.getHidden()), *tensor(op.getWeight()), tensor(op.getBias())));
        })
        .Case([&](moe::ScoreOp op) { return set(op, score(scoringOf(op.getKind()), *tensor(op.getLogits()))); })
        .Case([&](moe::TopKOp op) {
          return setChosen(op, topK(*tensor(op.getScores()), tensor(op.getCorrection()), topKSpecOf(op)));
        })
        .Case([&](moe::NormalizeOp op) {
          return set(op, normalize(*tensor(op.getWeights()), op.getEpsilon().convertToDouble()));
        })
        .Case(
            [&](moe::ScaleOp op) { return set(op, scale(*tensor(op.getWeights()), op.getFactor().convertToDouble())); })
        .Case([&](moe::CountPairsOp op) {
          auto type = cast<RankedTensorType>(op.getCounts().getType());
          return set(op, countPairs(ids(op.getIds()), type.getDimSize(0)));
        })
        .Case([&](moe::RouteOp op) {
          return setChosen(op, route(*tensor(op.getHidden()), *tensor(op.getWeight()), tensor(op.getBias()),
                                     tensor(op.getCorrection()), routeSpecOf(op)));
        })
        .Case([&](moe::DispatchOp op) { return runDispatch(op); })
        .Case([&](moe::CombineOp op) {
          return set(op, combine(*tensor(op.getExpertOutput()), ids(op.getIds()), ids(op.getSlot()),
                                 tensor(op.getWeights()), tensor(op.getInit())));
        })
        .Case<moe::ExpertFfnOp, moe::SharedFfnOp, moe::GroupedFfnOp>([&](auto op) { return runFfn(op); })
        .Default([](Operation *op) {
          return makeError(Code::InvalidArgument, "the reference does not know '{}'",
                           op->getName().getStringRef().str());
        });
  }

  std::vector<LayerResult> results(OperandRange returned) {
    std::vector<LayerResult> all;
    for (Value value : returned)
      all.push_back(values.at(value));
    return all;
  }

private:
  /// Null for an absent operand.
  const Tensor *tensor(Value value) { return value ? &std::get<Tensor>(values.at(value)) : nullptr; }
  const IdTensor &ids(Value value) { return std::get<IdTensor>(values.at(value)); }

  template <typename T> Status set(Operation *op, Result<T> result) {
    if (!result)
      return result.status().withContext("{}", op->getName().getStringRef().str());
    bind(op->getResult(0), std::move(*result));
    return {};
  }

  Status setBoth(Operation *op, LayerResult first, LayerResult second) {
    bind(op->getResult(0), std::move(first));
    bind(op->getResult(1), std::move(second));
    return {};
  }

  Status setChosen(Operation *op, Result<Chosen> chosen) {
    if (!chosen)
      return chosen.status().withContext("{}", op->getName().getStringRef().str());
    return setBoth(op, std::move(chosen->ids), std::move(chosen->weights));
  }

  Status runDispatch(moe::DispatchOp op) {
    Result<Dispatched> dispatched =
        dispatch(*tensor(op.getTokens()), ids(op.getIds()), tensor(op.getWeights()), dispatchSpecOf(op));
    if (!dispatched)
      return dispatched.status().withContext("moe.dispatch");
    return setBoth(op, std::move(dispatched->buffer), std::move(dispatched->slot));
  }

  template <typename OpT> Status runFfn(OpT op) {
    Result<Activation> activation = activationOf(op.getActivation());
    if (!activation)
      return activation.status().withContext("{}", op->getName().getStringRef().str());
    FfnWeights ffn{*tensor(op.getGate()), *tensor(op.getUp()), *tensor(op.getDown())};
    if constexpr (!std::is_same_v<OpT, moe::SharedFfnOp>) {
      ffn.gateBias = tensor(op.getGateBias());
      ffn.upBias = tensor(op.getUpBias());
      ffn.downBias = tensor(op.getDownBias());
    }
    return runFfn(op, ffn, *activation);
  }
  Status runFfn(moe::ExpertFfnOp op, const FfnWeights &ffn, const Activation &activation) {
    return set(op, expertFfn(*tensor(op.getBuffer()), ffn, activation));
  }
  Status runFfn(moe::SharedFfnOp op, const FfnWeights &ffn, const Activation &activation) {
    return set(op, sharedFfn(*tensor(op.getHidden()), ffn, tensor(op.getRouter()), activation));
  }
  Status runFfn(moe::GroupedFfnOp op, const FfnWeights &ffn, const Activation &activation) {
    Result<GroupedResult> grouped =
        groupedFfn(*tensor(op.getHidden()), ids(op.getIds()), *tensor(op.getWeights()), ffn, tensor(op.getInit()),
                   activation, op.getWeightOnInput() ? WeightOn::Input : WeightOn::Output);
    if (!grouped)
      return grouped.status().withContext("moe.grouped_ffn");
    return setBoth(op, std::move(grouped->output), std::move(grouped->counts));
  }

  const WeightProvider &weights;
  llvm::DenseMap<Value, LayerResult> values;
};

Status checkLayer(func::FuncOp layer, const Tensor &hidden) {
  std::string name = layer.getName().str();
  if (layer.isDeclaration() || !layer.getBody().hasOneBlock() || layer.getNumArguments() != 1)
    return makeError(Code::InvalidArgument, "{} is no layer: it needs a body of one block with one argument", name);
  auto type = dyn_cast<RankedTensorType>(layer.getArgumentTypes().front());
  if (!type || type.getRank() != 2)
    return makeError(Code::InvalidArgument, "{} is no layer: its argument is not [T, H]", name);
  return expectShape("hidden", hidden, {anySize, type.getDimSize(1)}).withContext("{}", name);
}

} // namespace

Result<std::vector<LayerResult>> evaluateLayer(func::FuncOp layer, const Tensor &hidden,
                                               const WeightProvider &weights) {
  if (Status status = checkLayer(layer, hidden); !status.ok())
    return status;
  LayerRun run(weights);
  run.bind(layer.getArgument(0), hidden);
  Block &body = layer.getBody().front();
  for (Operation &op : body.without_terminator())
    if (Status status = run.run(op); !status.ok())
      return status.withContext("{}", layer.getName().str());
  return run.results(body.getTerminator()->getOperands());
}

} // namespace moec::reference
