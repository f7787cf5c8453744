#include "passes/Passes.h"
#include "passes/PlanFromIr.h"

namespace moec::passes {
#define GEN_PASS_DEF_ASSIGNSLOTS
#include "passes/Passes.h.inc"
} // namespace moec::passes

using namespace mlir;
using namespace moec;

namespace {

struct AssignSlots : passes::impl::AssignSlotsBase<AssignSlots> {
  using AssignSlotsBase::AssignSlotsBase;

  void runOnOperation() override {
    for (auto grouped : getOperation().getOps<moe::GroupedFfnOp>()) {
      FailureOr<LayerPlan> plan = passes::planOf(grouped, tokens);
      if (failed(plan))
        return signalPassFailure();
      SmallVector<int32_t> slots(plan->table.slots.begin(), plan->table.slots.end());
      for (int32_t slot : slots)
        numSlots += slot;
      grouped.setSlots(slots);
    }
  }
};

} // namespace
