// From kernel MLIR to LLVM IR, to an object, to a shared object.
#pragma once

#include "compiler/core/Status.h"
#include "compiler/core/TargetFacts.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moec::codegen {

/// Lowers `module` in place to the LLVM dialect only: polynomial approximations for math, scf to branches, vectors and
/// x86vector to LLVM. Errors go to the context's diagnostics.
mlir::LogicalResult lowerToLlvmDialect(mlir::ModuleOp module);

/// Translates a lowered module. Null, with diagnostics, on failure.
std::unique_ptr<llvm::Module> translate(mlir::ModuleOp module, llvm::LLVMContext &context);

/// The CPU and feature string that LLVM generates code for; part of the artefact key.
std::string cpuNameOf(CpuIsa isa);
std::string cpuFeaturesOf(CpuIsa isa);

/// Optimises `module` for `isa` and emits a position-independent ELF object; `assembly` gives its text instead.
/// Errors: CompileFailed.
Result<std::vector<uint8_t>> emitObject(llvm::Module &module, CpuIsa isa, bool assembly = false);

/// Links one object into a shared object that exports the `moec_*` functions and needs nothing.
/// lld keeps global state: calls take a lock. Errors: CompileFailed with lld's own message.
Result<std::vector<uint8_t>> linkSharedObject(const std::vector<uint8_t> &object);

} // namespace moec::codegen
