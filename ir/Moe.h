// The `moe` dialect: ops, attributes, enums. See docs/generated/MoeDialect.md.
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Attributes.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ir/MoeDialect.h.inc"
#include "ir/MoeEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/MoeAttrs.h.inc"

#define GET_OP_CLASSES
#include "ir/MoeOps.h.inc"

namespace moec::moe {

// Attribute names that the phases put on a module or a layer's function; what each holds is in MoeDialect.td.
inline constexpr llvm::StringLiteral kPhaseAttr = "moe.phase";
inline constexpr llvm::StringLiteral kLayerAttr = "moe.layer";
inline constexpr llvm::StringLiteral kModelAttr = "moe.model";
inline constexpr llvm::StringLiteral kTokensAttr = "moe.tokens";
inline constexpr llvm::StringLiteral kPairsAttr = "moe.pairs";

// What moe.phase may be, in order (passes/Passes.h).
inline constexpr llvm::StringLiteral kPhaseNames[] = {"input", "grouped", "sized", "selected", "planned", "launches"};

} // namespace moec::moe
