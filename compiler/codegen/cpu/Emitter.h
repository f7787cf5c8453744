// Small building blocks that tile and packing kernels share: addresses, vector loads and stores, constants.
#pragma once

#include "compiler/core/Config.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace moec::codegen {

struct Emitter {
  mlir::ImplicitLocOpBuilder b;
  uint32_t lanes;

  Emitter(mlir::Location loc, mlir::OpBuilder builder, uint32_t lanes) : b(loc, builder), lanes(lanes) {}

  mlir::Type i64() { return b.getI64Type(); }
  mlir::VectorType f32s() { return mlir::VectorType::get({lanes}, b.getF32Type()); }
  mlir::VectorType i32s() { return mlir::VectorType::get({lanes}, b.getI32Type()); }
  mlir::VectorType bf16s(uint32_t count) { return mlir::VectorType::get({count}, b.getBF16Type()); }

  mlir::Value constant(int64_t value) { return mlir::arith::ConstantOp::create(b, b.getI64IntegerAttr(value)); }
  mlir::Value add(mlir::Value x, mlir::Value y) { return mlir::arith::AddIOp::create(b, x, y); }
  mlir::Value mul(mlir::Value x, mlir::Value y) { return mlir::arith::MulIOp::create(b, x, y); }

  /// `base` plus a run-time number of bytes, plus a constant one that ends up in the instruction.
  mlir::Value address(mlir::Value base, mlir::Value bytes, int64_t constantBytes = 0) {
    auto pointer = mlir::LLVM::LLVMPointerType::get(b.getContext());
    mlir::Value moved =
        bytes ? mlir::LLVM::GEPOp::create(b, pointer, b.getI8Type(), base, llvm::ArrayRef<mlir::LLVM::GEPArg>{bytes})
                    .getResult()
              : base;
    if (constantBytes == 0)
      return moved;
    return mlir::LLVM::GEPOp::create(b, pointer, b.getI8Type(), moved,
                                     llvm::ArrayRef<mlir::LLVM::GEPArg>{static_cast<int32_t>(constantBytes)});
  }
  /// Loads and stores promise no more than the element's own alignment.
  mlir::Value load(mlir::Type type, mlir::Value from) {
    return mlir::LLVM::LoadOp::create(b, type, from, elementBytes(type));
  }
  void store(mlir::Value value, mlir::Value to) {
    mlir::LLVM::StoreOp::create(b, value, to, elementBytes(value.getType()));
  }
  mlir::Value zeros() { return mlir::arith::ConstantOp::create(b, f32s(), b.getZeroAttr(f32s())); }

  static unsigned elementBytes(mlir::Type type) { return mlir::getElementTypeOrSelf(type).getIntOrFloatBitWidth() / 8; }
};

/// Opens `void name(ptr, ..., i64, ...)` with external linkage and leaves the builder in its body; call
/// `finishFunction` at the end.
mlir::LLVM::LLVMFuncOp beginFunction(Emitter &emitter, mlir::ModuleOp module, llvm::StringRef name,
                                     llvm::ArrayRef<mlir::Type> arguments);
void finishFunction(Emitter &emitter);

} // namespace moec::codegen
