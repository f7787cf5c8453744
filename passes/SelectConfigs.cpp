#include "passes/Passes.h"
#include "passes/PlanFromIr.h"

namespace moec::passes {
#define GEN_PASS_DEF_SELECTCONFIGS
#include "passes/Passes.h.inc"
} // namespace moec::passes

using namespace mlir;
using namespace moec;

namespace {

struct SelectConfigs : passes::impl::SelectConfigsBase<SelectConfigs> {
  using SelectConfigsBase::SelectConfigsBase;

  void runOnOperation() override {
    for (auto grouped : getOperation().getOps<moe::GroupedFfnOp>()) {
      FailureOr<LayerPlan> plan = passes::planOf(grouped, tokens);
      if (failed(plan))
        return signalPassFailure();
      SmallVector<int8_t> packed(plan->table.packed.begin(), plan->table.packed.end());
      SmallVector<int16_t> order(plan->table.order.begin(), plan->table.order.end());
      grouped.setConfigAttr(passes::toAttribute(&getContext(), plan->config));
      grouped.setPacked(packed);
      grouped.setOrder(order);
      numPacked += llvm::count(packed, 1);
    }
  }
};

} // namespace
