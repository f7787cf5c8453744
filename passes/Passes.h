// The passes, and the phases they make up. One pass a file; see docs/generated/Passes.md.
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

#include "llvm/ADT/StringRef.h"

#include <memory>
#include <optional>

namespace moec::passes {

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

/// The phases in order.
enum class Phase { Input, Grouped, Sized, Selected, Planned, Launches };
std::optional<Phase> parsePhase(llvm::StringRef name);
llvm::StringRef phaseName(Phase phase);

/// The phase that a module says it is in; `Input` where it says nothing.
/// An unknown name is an error on the module.
mlir::FailureOr<Phase> phaseOf(mlir::ModuleOp module);

/// Adds the passes that lead from phase `from` to phase `to`, each phase's verifier after it (and `from`'s before).
void addPhases(mlir::OpPassManager &passManager, Phase from, Phase to);

/// Registers all passes and the pipeline `moe-lower{to=PHASE}`, which starts from `input`.
void registerAll();

} // namespace moec::passes
