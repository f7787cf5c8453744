#include "ir/Moe.h"
#include "passes/Passes.h"

#include "mlir/IR/Builders.h"

namespace moec::passes {
#define GEN_PASS_DEF_FUSEROUTING
#include "passes/Passes.h.inc"
} // namespace moec::passes

using namespace mlir;
using namespace moec::moe;

namespace {

/// The ops of one routing chain, in the order in which they run; null where the chain has none.
struct RoutingChain {
  RouterOp router;
  ScoreOp before;
  TopKOp topK;
  ScoreOp after;
  NormalizeOp normalize;
  ScaleOp scale;
};

/// The only user of `value`, if it is an `OpT`.
template <typename OpT> OpT onlyUser(Value value) {
  return value.hasOneUse() ? dyn_cast<OpT>(*value.user_begin()) : OpT();
}

/// Walks from the top-k to both ends; nothing if it does not begin at a router.
std::optional<RoutingChain> findChain(TopKOp topK) {
  RoutingChain chain;
  chain.topK = topK;
  Value scores = topK.getScores();
  if ((chain.before = scores.getDefiningOp<ScoreOp>()) && scores.hasOneUse())
    scores = chain.before.getLogits();
  chain.router = scores.getDefiningOp<RouterOp>();
  if (!chain.router || !scores.hasOneUse())
    return std::nullopt;
  Value weights = topK.getWeights();
  if ((chain.after = onlyUser<ScoreOp>(weights)))
    weights = chain.after.getScores();
  if ((chain.normalize = onlyUser<NormalizeOp>(weights)))
    weights = chain.normalize.getResult();
  chain.scale = onlyUser<ScaleOp>(weights);
  return chain;
}

Value lastWeights(const RoutingChain &chain) {
  if (chain.scale)
    return ScaleOp(chain.scale).getResult();
  if (chain.normalize)
    return NormalizeOp(chain.normalize).getResult();
  if (chain.after)
    return ScoreOp(chain.after).getScores();
  return TopKOp(chain.topK).getWeights();
}

void fuse(RoutingChain &chain) {
  OpBuilder builder(chain.topK);
  MLIRContext *context = builder.getContext();
  auto scoring = [&](ScoreOp score) {
    return score ? ScoringKindAttr::get(context, score.getKind()) : ScoringKindAttr();
  };
  auto route =
      RouteOp::create(builder, chain.topK.getLoc(), chain.topK.getIds().getType(), chain.topK.getWeights().getType(),
                      chain.router.getHidden(), chain.router.getWeight(), chain.router.getBias(),
                      chain.topK.getCorrection(), chain.topK.getKAttr(), scoring(chain.before), scoring(chain.after),
                      chain.topK.getGroupsAttr(), chain.topK.getGroupsPickedAttr(), chain.topK.getGroupTopAttr(),
                      chain.normalize ? chain.normalize.getEpsilonAttr() : FloatAttr(),
                      chain.scale ? chain.scale.getFactorAttr() : builder.getF64FloatAttr(1.0));
  lastWeights(chain).replaceAllUsesWith(route.getWeights());
  chain.topK.getIds().replaceAllUsesWith(route.getIds());
  for (Operation *op : {chain.scale.getOperation(), chain.normalize.getOperation(), chain.after.getOperation(),
                        chain.topK.getOperation(), chain.before.getOperation(), chain.router.getOperation()})
    if (op)
      op->erase();
}

struct FuseRouting : moec::passes::impl::FuseRoutingBase<FuseRouting> {
  void runOnOperation() override {
    SmallVector<TopKOp> topKs(getOperation().getOps<TopKOp>());
    for (TopKOp topK : topKs)
      if (std::optional<RoutingChain> chain = findChain(topK)) {
        fuse(*chain);
        ++numFused;
      }
  }
};

} // namespace
