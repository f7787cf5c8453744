#include "compiler/codegen/cpu/Emitter.h"

using namespace mlir;

namespace moec::codegen {

LLVM::LLVMFuncOp beginFunction(Emitter &emitter, ModuleOp module, StringRef name, ArrayRef<Type> arguments) {
  emitter.b.setInsertionPointToEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(emitter.b.getContext()), arguments);
  auto function = LLVM::LLVMFuncOp::create(emitter.b, name, type);
  for (unsigned index = 0; index < arguments.size(); ++index)
    if (isa<LLVM::LLVMPointerType>(arguments[index])) // callers hand in distinct buffers
      function.setArgAttr(index, LLVM::LLVMDialect::getNoAliasAttrName(), emitter.b.getUnitAttr());
  emitter.b.setInsertionPointToStart(function.addEntryBlock(emitter.b));
  return function;
}

void finishFunction(Emitter &emitter) { LLVM::ReturnOp::create(emitter.b, ValueRange{}); }

} // namespace moec::codegen
