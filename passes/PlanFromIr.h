// Reads what planLayer needs from the IR, so that a printed module can be resumed with nothing beside it.
#pragma once

#include "compiler/core/Plan.h"
#include "ir/Moe.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace moec::passes {

// Attributes that `compile` writes and the planning passes read. On the module:
inline constexpr llvm::StringLiteral kTargetAttr = "moe.target";           // {name, isa, threads, l2}
inline constexpr llvm::StringLiteral kLimitsAttr = "moe.limits";           // {heights, pack_budget, headroom, align}
inline constexpr llvm::StringLiteral kCalibrationAttr = "moe.calibration"; // Calibration::toJson()
// On a layer's function:
using moe::kPairsAttr;  // array<i32>: pairs per expert of the profile's typical step
using moe::kTokensAttr; // i64: tokens of that step
inline constexpr llvm::StringLiteral kPlanAttr = "moe.plan"; // a plan that was decided elsewhere: {config, slots, ...}

/// The dimensions that plans and kernels depend on.
LayerShape shapeOf(moe::GroupedFfnOp grouped);

/// The profile of a layer of this shape, or uniform routing of `defaultTokens`.
mlir::FailureOr<Histogram> histogramOf(mlir::func::FuncOp function, const LayerShape &shape, int64_t defaultTokens);

/// The target that the module says it is for; the newest CPU where it says none. Fails, with a diagnostic, on a
/// malformed one.
mlir::FailureOr<TargetFacts> targetOf(mlir::ModuleOp module);

/// The plan of one layer: the one that `moe.plan` carries, or planLayer's.
/// Fails, with a diagnostic, where an attribute above has the wrong form.
mlir::FailureOr<LayerPlan> planOf(moe::GroupedFfnOp grouped, int64_t defaultTokens);

mlir::Attribute toAttribute(mlir::MLIRContext *context, const LayerConfig &config);
/// `attribute` is a CpuConfigAttr or a CudaConfigAttr.
LayerConfig fromAttribute(mlir::Attribute attribute);

/// Writes facts, limits and calibration onto a module.
void writeTarget(mlir::ModuleOp module, const TargetFacts &facts, const PlanLimits &limits,
                 const Calibration &calibration);
/// Writes a decided plan onto a layer's function.
void writePlan(mlir::func::FuncOp function, const LayerPlan &plan);

} // namespace moec::passes
