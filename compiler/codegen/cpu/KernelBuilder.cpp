#include "compiler/codegen/cpu/KernelBuilder.h"
#include "compiler/codegen/cpu/Kernels.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/X86Vector/X86VectorDialect.h"

using namespace mlir;

namespace moec::codegen {

void registerKernelDialects(DialectRegistry &registry) {
  registry.insert<arith::ArithDialect, cf::ControlFlowDialect, LLVM::LLVMDialect, math::MathDialect, scf::SCFDialect,
                  vector::VectorDialect, x86vector::X86VectorDialect>();
}

OwningOpRef<ModuleOp> buildKernels(MLIRContext &context, const CpuConfig &config,
                                   const std::vector<TileKernelSpec> &tiles, const std::vector<PackKernelSpec> &packs) {
  DialectRegistry registry;
  registerKernelDialects(registry);
  context.appendDialectRegistry(registry);
  context.loadAllAvailableDialects();
  Location loc = UnknownLoc::get(&context);
  OwningOpRef<ModuleOp> module = ModuleOp::create(loc);
  Emitter emitter(loc, OpBuilder(&context), TargetFacts{.isa = config.isa}.lanes());
  for (const TileKernelSpec &spec : tiles)
    buildTileKernel(emitter, *module, config, spec);
  for (const PackKernelSpec &spec : packs)
    buildPackKernel(emitter, *module, config, spec);
  return module;
}

LogicalResult verifyLegality(ModuleOp module, CpuIsa isa) {
  int64_t widestBits = isa == CpuIsa::Avx2 ? 256 : 512;
  WalkResult walk = module.walk([&](Operation *op) {
    if (llvm::isa_and_nonnull<x86vector::X86VectorDialect>(op->getDialect()) && isa != CpuIsa::Avx512Bf16) {
      op->emitError() << "'" << op->getName() << "' cannot run on " << isaName(isa);
      return WalkResult::interrupt();
    }
    for (Type type : op->getResultTypes())
      if (auto vector = dyn_cast<VectorType>(type);
          vector && vector.getElementType().isIntOrFloat() &&
          vector.getNumElements() * vector.getElementTypeBitWidth() > widestBits) {
        op->emitError() << "a vector of " << vector.getNumElements() * vector.getElementTypeBitWidth()
                        << " bits is wider than the registers of " << isaName(isa);
        return WalkResult::interrupt();
      }
    return WalkResult::advance();
  });
  return failure(walk.wasInterrupted());
}

} // namespace moec::codegen
