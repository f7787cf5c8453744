#include "ir/Moe.h"

#include "compiler/core/Config.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moec;
using namespace moec::moe;

#include "ir/MoeDialect.cpp.inc"
#include "ir/MoeEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ir/MoeAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "ir/MoeOps.cpp.inc"

void MoeDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ir/MoeAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ir/MoeOps.cpp.inc"
      >();
}

LogicalResult MoeDialect::verifyOperationAttribute(Operation *op, NamedAttribute attribute) {
  StringRef name = attribute.getName();
  if ((name == kPhaseAttr || name == kModelAttr) && !isa<StringAttr>(attribute.getValue()))
    return op->emitError() << name << " is a string, but it is " << attribute.getValue();
  if (name == kPhaseAttr && !llvm::is_contained(kPhaseNames, cast<StringAttr>(attribute.getValue()).getValue()))
    return op->emitError() << "unknown phase " << attribute.getValue();
  if (name == kLayerAttr || name == kTokensAttr) {
    auto number = dyn_cast<IntegerAttr>(attribute.getValue());
    if (!number || !number.getType().isSignlessInteger(64) || number.getInt() < 0 || number.getInt() > INT32_MAX)
      return op->emitError() << name << " is an i64 in 0.." << INT32_MAX << ", but it is " << attribute.getValue();
  }
  if (name == kPairsAttr) {
    auto pairs = dyn_cast<DenseI32ArrayAttr>(attribute.getValue());
    if (!pairs || llvm::any_of(pairs.asArrayRef(), [](int32_t count) { return count < 0; }))
      return op->emitError() << name << " is an array of i32 that are not negative, but it is " << attribute.getValue();
  }
  return success();
}

LogicalResult CudaConfigAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef element, StringRef gateUp,
                                     StringRef down, StringRef sharedGateUp, StringRef sharedDown) {
  if (element != "bf16" && element != "f16")
    return emitError() << "element is '" << element << "', expected bf16 or f16";
  for (StringRef text : {gateUp, down, sharedGateUp, sharedDown}) {
    Result<CudaTile> tile = CudaTile::parse(text.str());
    if (!tile)
      return emitError() << tile.status().message();
    if (tile->stages < 2)
      return emitError() << "tile '" << text << "' has fewer than two stages";
  }
  // Both read the one table into which dispatch cuts each expert's rows.
  if (CudaTile::parse(gateUp.str())->tokens != CudaTile::parse(down.str())->tokens)
    return emitError() << "gate_up '" << gateUp << "' and down '" << down << "' take different numbers of tokens";
  return success();
}

LogicalResult CpuConfigAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef isa, StringRef compute,
                                    ArrayRef<int64_t> rows) {
  if (isa != "avx2" && isa != "avx512" && isa != "avx512bf16")
    return emitError() << "isa is '" << isa << "', expected avx2, avx512 or avx512bf16";
  if (compute != "f32" && compute != "bf16")
    return emitError() << "compute is '" << compute << "', expected f32 or bf16";
  if (rows.empty())
    return emitError() << "there is no tile height";
  int64_t tallest = isa == "avx2" ? 5 : isa == "avx512" ? 13 : 14; // TargetFacts::maxTileRows
  for (auto [index, height] : llvm::enumerate(rows)) {
    if (height < 1 || height > tallest)
      return emitError() << "tile height " << height << " is not in 1.." << tallest << " of " << isa;
    if (index > 0 && rows[index - 1] <= height)
      return emitError() << "tile heights must descend, but " << height << " follows " << rows[index - 1];
  }
  return success();
}
