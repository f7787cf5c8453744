#include "passes/Passes.h"
#include "passes/PlanFromIr.h"

#include "mlir/IR/Builders.h"

namespace moec::passes {
#define GEN_PASS_DEF_PLANMEMORY
#include "passes/Passes.h.inc"
} // namespace moec::passes

using namespace mlir;
using namespace moec;

namespace {

struct PlanMemory : passes::impl::PlanMemoryBase<PlanMemory> {
  void runOnOperation() override {
    for (auto grouped : getOperation().getOps<moe::GroupedFfnOp>()) {
      if (!grouped.getConfig() || !grouped.getSlots()) {
        grouped.emitError("has no slots or no config: it is not in phase selected");
        return signalPassFailure();
      }
      LayerShape shape = passes::shapeOf(grouped);
      LayerConfig config = passes::fromAttribute(*grouped.getConfig());
      const bool cpu = config.device == DeviceKind::Cpu;
      DType rows = cpu ? config.cpu.rowDType() : config.cuda.element;
      // On a GPU rows are read in whole swizzled tiles; padding would only cost memory.
      uint32_t hidden = cpu ? paddedStride(shape.hidden, rows) : shape.hidden;
      uint32_t intermediate = cpu ? paddedStride(shape.intermediate, rows) : shape.intermediate;
      Builder builder(&getContext());
      grouped.setHiddenStrideAttr(builder.getI64IntegerAttr(hidden));
      grouped.setIntermediateStrideAttr(builder.getI64IntegerAttr(intermediate));
      ArrayRef<int32_t> allSlots = *grouped.getSlots();
      for (int32_t slots : allSlots)
        numBytes += uint64_t(slots) * (hidden + intermediate) * byteSize(rows);
    }
  }
};

} // namespace
