// Builds the MLIR of CPU kernels: llvm functions whose bodies are scf, vector, arith, math and x86vector.
#pragma once

#include "compiler/codegen/cpu/KernelSpec.h"

#include "mlir/IR/BuiltinOps.h"

#include <vector>

namespace moec::codegen {

/// The dialects that building and lowering need.
void registerKernelDialects(mlir::DialectRegistry &registry);

/// A module with one exported function per spec, ready for `lowerToLlvm`.
///
/// A tile kernel keeps `rows x 2` vectors of sums per panel in registers, walks K once in ascending order, and ends
/// with its role's epilogue (abi/CpuKernels.h). bf16 multiplies pairs of K (`vdpbf16ps` where the ISA has it, else two
/// f32 multiply-adds per pair), f32 one K at a time.
mlir::OwningOpRef<mlir::ModuleOp> buildKernels(mlir::MLIRContext &context, const CpuConfig &config,
                                               const std::vector<TileKernelSpec> &tiles,
                                               const std::vector<PackKernelSpec> &packs);

/// Fails, with a diagnostic, if the module holds an op or a vector that `isa` cannot execute: LLVM would abort.
mlir::LogicalResult verifyLegality(mlir::ModuleOp module, CpuIsa isa);

} // namespace moec::codegen
